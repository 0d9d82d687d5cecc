"""What is kept about each sample: means, changes, checkpoints, sizes."""

from __future__ import annotations

import pytest
import torch
from test_core.loss_steps import exactly, tensors
from torch import nn
from torch.testing import assert_close

from mmdet_ols import no_teaching
from mmdet_ols.core import SampleState

N, C = 7, 3


def make(num_samples=N):
    return SampleState(
        num_samples,
        measured=dict(suggested=()),
        recorded=dict(weight=(), row=(C,)),
        adjusted=dict(logits=(C,)),
    )


def steps(count=3, seed=0):
    """Batches of four samples, some of them twice, none of them sample 6."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        index = torch.randint(N - 1, (4,), generator=generator)
        yield index, *(torch.randn(4, *shape, generator=generator) for shape in ((), (C,), (C,)))


def teach(state, batches):
    for index, weight, row, change in batches:
        state.record(index, weight=weight, row=row)
        state.adjust(index, logits=change)


def test_a_period_puts_means_and_sums_into_use():
    state = make()
    means, sums = {}, torch.zeros(N, C)
    for period in range(3):
        batches = list(steps(seed=period))
        seen = {}
        for index, weight, row, change in batches:
            for i, w, r, d in zip(index.tolist(), weight, row, change):
                seen.setdefault(i, []).append((w, r))
                sums[i] += d
        teach(state, batches)
        assert_close(state.now('logits', torch.arange(N)), sums)
        assert state.roll_over() == len(seen)
        for i, values in seen.items():
            weights, rows = zip(*values)
            number = means.get(i, (0, 0, 0))[2] + 1
            means[i] = sum(weights) / len(weights), sum(rows) / len(rows), number
        for i, (weight, row, periods) in means.items():
            assert_close(state.weight[i], weight)
            assert_close(state.row[i], row)
            assert state.periods[i] == periods
        assert_close(state.logits, sums)
        assert not any(tensor.any() for name, tensor in tensors(state).items() if 'sum' in name)
    assert state.periods[6] == 0 and state.opinion()['weight'][6].isnan()
    assert_close(state.opinion()['weight'][state.periods > 0], state.weight[state.periods > 0])


def test_only_training_steps_teach():
    state = make()
    before = {name: tensor.clone() for name, tensor in tensors(state).items()}
    with no_teaching():
        teach(state, steps())
    teach(state.eval(), steps())
    exactly(tensors(state), before)


def test_rows_that_are_not_finite_are_left_out():
    state = make()
    weight, row = torch.tensor([torch.nan, 2.0, 3.0]), torch.ones(3, C)
    row[1, 2] = torch.inf
    index = torch.tensor([0, 1, 2])
    state.record(index, weight=weight, row=row)
    state.adjust(index, logits=row)
    state.roll_over()
    assert state.periods.tolist() == [0, 0, 1, 0, 0, 0, 0]
    assert state.weight.tolist() == [0, 0, 3, 0, 0, 0, 0]
    assert state.logits.sum(1).tolist() == [3, 0, 3, 0, 0, 0, 0]


def test_a_checkpoint_holds_everything_and_gives_the_size():
    state = make()
    teach(state, steps())
    state.roll_over()
    teach(state, steps(seed=1))
    state.put(suggested=torch.arange(N))
    saved = state.state_dict()
    for other in (make(), make(None)):
        other.load_state_dict(saved)
        exactly(tensors(other), tensors(state))
    with pytest.raises(RuntimeError, match='size mismatch'):
        make(N + 1).load_state_dict(saved)


@pytest.mark.parametrize('convert', [nn.Module.half, nn.Module.double])
def test_conversion_changes_nothing(convert):
    state = make()
    teach(state, steps())
    before = {name: tensor.clone() for name, tensor in tensors(state).items()}
    convert(nn.ModuleList([state]))
    exactly(tensors(state), before)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match='different names'):
        SampleState(N, measured=dict(a=()), recorded=dict(a=()))
    with pytest.raises(ValueError, match='`num_samples` must be 0 or a positive integer'):
        SampleState(-1, measured=dict(a=()))
    state = make()
    with pytest.raises(ValueError, match=r"recorded values \['weight', 'row'\]"):
        state.record(torch.tensor([0]), weight=torch.ones(1))
    with pytest.raises(ValueError, match='measured values'):
        state.put(weight=torch.ones(N))
    for wrong in (-1, N):
        with pytest.raises(ValueError, match=rf'numbers in \[0, {N - 1}\]'):
            state.adjust(torch.tensor([0, wrong]), logits=torch.ones(2, C))
    with pytest.raises(ValueError, match='does not know the number'):
        make(None).adjust(torch.tensor([0]), logits=torch.ones(1, C))
