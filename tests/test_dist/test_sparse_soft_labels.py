"""The slots of two processes become those of the whole."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close
from toy_runner import exactly
from toy_sparse import collect_and_merge

from mmdet_ols import OLSLoss
from mmdet_ols.core import dense_soft_labels

pytestmark = pytest.mark.dist
C = 20


def period(sizes, classes):
    """Two batches; a class is taken for its neighbours, and for the next one most."""
    column = torch.arange(C)
    distance = (column - column[:, None] - 0.2).abs()
    halves = []
    for n in sizes:
        label = torch.randint(classes, (n,))
        halves.append((0.4 * torch.randn(n, C) - 1.5 * distance[label], label))
    return halves


def whole(parts):
    """What one process with all samples has after each period, and in the middle of it."""
    criterion = OLSLoss(C, implementation='plain')
    for periods in zip(*parts):
        sums = []
        for half in zip(*periods):
            for scores, label in half:
                criterion(scores.detach().requires_grad_(), label)
            collected = criterion.state.so_far()
            sums.append({name: tensor.clone() for name, tensor in collected.items()})
        report = criterion.update_soft_labels()
        yield sums, criterion.soft_labels.clone(), report._asdict()


def dense_sums(state):
    sums = torch.zeros(C, C).scatter(1, state['slot_column'].long(), state['slot_sum'])
    return torch.where(state['prob_total'][:, None] > 0, sums, 0)


@pytest.mark.parametrize('top_m', [3, C])
def test_merging(two_ranks, top_m):
    # Rank 1 has fewer samples, none of many classes, and in the second period none at first.
    parts = [
        [period((90, 60), C - 1), period((50, 60), C - 1), period((50, 40), C - 1)],
        [period((45, 30), 8), period((0, 50), C - 1), period((70, 90), C - 1)],
    ]
    ranks = two_ranks(collect_and_merge, parts, top_m=top_m)
    for ours, theirs, expected in zip(*ranks, whole(parts)):
        (middle, end), soft_labels, report = expected
        exactly(ours[2:], theirs[2:])  # in use, and reported
        # In the middle both hold what both had collected.
        reduced = ours[0]
        exactly(reduced, theirs[0])
        for name in ('correct_count', 'sample_count'):
            exactly(reduced[name], middle[name])
            exactly(ours[1][name] + theirs[1][name] - reduced[name], end[name])
        assert_close(reduced['prob_total'], middle['prob_sum'].sum(1))
        sums = dense_sums(reduced)
        if top_m == C:
            assert_close(sums, middle['prob_sum'])
        else:
            at_most = sums + torch.zeros_like(sums).scatter(
                1, reduced['slot_column'].long(), reduced['slot_missed']
            )
            at_most = torch.where(sums > 0, at_most, reduced['untracked'][:, None])
            assert (sums <= middle['prob_sum'] + 1e-4).all()
            assert (middle['prob_sum'] <= at_most + 1e-4).all()
        # At the end all of it is in use.
        actual = dense_soft_labels(
            *(ours[2][name] for name in ('soft_columns', 'soft_values', 'soft_rest'))
        )
        if top_m == C:
            assert_close(actual, soft_labels)
            assert_close(ours[3], report)
        else:
            value, column = soft_labels.topk(top_m, 1)
            best = ((1 - value.sum(1, keepdim=True)) / (C - top_m)).expand(C, C)
            best = best.scatter(1, column, value)
            taught = soft_labels.amax(1) > 0.1
            assert taught.sum() > 10
            assert ((actual - best)[taught].abs().sum(1) < 0.06).all()
            assert_close(report['correct_share'], ours[3]['correct_share'])
