"""The buffers of a state are equal on all ranks at all times, and nothing that is seen is lost."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close
from toy_runner import exactly
from toy_states import (
    C,
    ask_and_merge,
    average_between,
    broadcast_between,
    compiled,
    make,
    save_and_load,
)

pytestmark = pytest.mark.dist
EVERY_KIND = pytest.mark.parametrize('kind', ['plain', 'fused', 'sparse', 'single'])


def parts():
    """Three batches for each rank; rank 1 has fewer samples, and none in the last batch."""

    def batch(n):
        label = torch.randint(C - 1, (n,))
        return torch.randn(n, C) + 2 * torch.eye(C)[label], label

    return [[batch(n) for n in sizes] for sizes in ((12, 9, 7), (5, 8, 0))]


def alone(batches, kind):
    """One process with all batches, up to the roll-over."""
    criterion = make(kind)
    for both in zip(*batches):
        for scores, label in both:
            criterion(scores.clone().requires_grad_(), label)
    before = {name: value.clone() for name, value in criterion.state_dict().items()}
    criterion.update_soft_labels()
    return before, criterion.state_dict()


def assert_counts_as_alone(kind, state, expected):
    """What of a state does not depend on the order or on random numbers."""
    names = ['correct_count', 'sample_count']
    if kind != 'sparse':  # whose entries are found in another order
        names += ['soft_labels', 'prob_sum']
    for name in names:
        assert_close(state[f'state.{name}'], expected[f'state.{name}'])


def assert_rolled_over_as_alone(kind, state, expected):
    if kind == 'sparse':
        assert_close(state['state.soft_values'], expected['state.soft_values'], rtol=0, atol=0.1)
    if kind == 'single':
        exactly(state['state.bank_count'], expected['state.bank_count'])
        assert_close(state['state.bank'].sum(1), expected['state.bank'].sum(1))
    assert_counts_as_alone(kind, state, expected)


@EVERY_KIND
def test_asking_for_a_state_dict_changes_and_loses_nothing(two_ranks, kind):
    batches = parts()
    ranks = two_ranks(ask_and_merge, batches, kind=kind)
    exactly(*ranks)  # at all times
    *before, merged, again, rolled_over = ranks[0]
    start = make(kind).state_dict()
    for state in before:  # nothing was shared yet
        exactly(state, dict(start))
    exactly(again, merged)
    counted, expected = alone(batches, kind)
    assert counted['state.correct_count'].sum() > 20
    assert_counts_as_alone(kind, merged, counted)
    assert_rolled_over_as_alone(kind, rolled_over, expected)


@EVERY_KIND
@pytest.mark.parametrize('disturb', [average_between, broadcast_between])
@pytest.mark.filterwarnings('ignore')
def test_averaging_and_broadcasting_buffers_does_no_harm(two_ranks, disturb, kind):
    batches = parts()
    ranks = two_ranks(disturb, batches, kind=kind)
    exactly(*ranks)
    _, expected = alone(batches, kind)
    assert_rolled_over_as_alone(kind, ranks[0], expected)


def test_a_graph_of_the_users_own_collects_in_private(two_ranks):
    batches = parts()
    ranks = two_ranks(compiled, batches, kind='plain')
    for before, _ in ranks:
        exactly(before, dict(make('plain').state_dict()))
    exactly(ranks[0][1], ranks[1][1])
    assert_rolled_over_as_alone('plain', ranks[0][1], alone(batches, 'plain')[1])


@EVERY_KIND
@pytest.mark.filterwarnings('ignore')
def test_distributed_checkpoint(tmp_path, two_ranks, kind):
    """It saves a tensor that all ranks have from whichever rank it likes."""
    ranks = two_ranks(save_and_load, parts(), kind=kind, folder=str(tmp_path))
    exactly(ranks[0][0], ranks[1][0])
    for saved, loaded in ranks:
        assert saved['loss.state.sample_count'].sum() == 12 + 5
        exactly(loaded, saved)
