"""The bank of single predictions: what it keeps, and what is drawn from it."""

from __future__ import annotations

import copy
import math
from unittest import mock

import pytest
import torch
from torch.testing import assert_close

from mmdet_ols.core import PredictionBank

C, M = 3, 4
OWN = ('bank', 'bank_count', 'reservoir', 'reservoir_key')


def tensors(state):
    return {name: value.clone() for name, value in state.state_dict().items()}


def teach(state, logits, label, teaches=None):
    teaches = torch.ones(len(label), dtype=bool) if teaches is None else teaches
    state.accumulate(logits, logits.softmax(-1), label, teaches)


def right(label, columns=C):
    """Scores that are right about their labels, no two alike."""
    return 3 * torch.eye(columns)[label] + torch.rand(len(label), columns)


# --- what it keeps -------------------------------------------------------------------------------


def test_largest_keys_stay():
    """Over several batches, with more samples of a class in one than the bank has places."""
    state, kept, randint = PredictionBank(C, M), {y: [] for y in range(C)}, torch.randint
    keys = []

    def recorded(*args, **kwargs):
        keys.append(randint(*args, **kwargs))
        return keys[-1]

    for n in (2, 30, 1, 7, 0, 12):
        label = torch.randint(2, (n,))  # none of class 2
        logits = torch.randn(n, C) + torch.eye(C)[label]
        logits[3::5, 1] = math.nan
        teaches = torch.arange(n) % 4 > 0
        with mock.patch.object(torch, 'randint', recorded):
            teach(state, logits, label, teaches)
        for i in range(n):
            y = int(label[i])
            finite = all(math.isfinite(z) for z in logits[i])
            if finite and teaches[i] and max(logits[i]) == logits[i, y]:
                kept[y].append((int(keys[-1][i]), logits[i].softmax(-1)))
    assert min(len(kept[y]) for y in (0, 1)) > M and not kept[2]

    state.update_soft_labels()

    for y in (0, 1):
        expected = sorted(kept[y], key=lambda item: -item[0])[:M]
        assert_close(state.bank[y], torch.stack([row for _, row in expected]), rtol=0, atol=1e-6)
    assert_close(state.bank_count, torch.tensor([float(M), M, 0]))
    assert not state.bank[2].any()
    for name in state.collected:
        assert not getattr(state, name).any()


def test_every_sample_stays_equally_often():
    """100 classes are 100 trials: 10 samples in three batches for 3 places."""
    state = PredictionBank(100, bank_size=3)
    columns = torch.arange(100)
    for number in torch.arange(10).split([2, 7, 1]):
        label = columns.repeat(len(number))
        # The share of the class tells which of its samples it was.
        logits = 0 * torch.eye(100)[label]
        logits[torch.arange(len(label)), label] = (9 + number).repeat_interleave(100).float()
        teach(state, logits, label)
    state.update_soft_labels()
    assert_close(state.bank_count, torch.full((100,), 3.0))
    share = state.bank[columns, :, columns]
    number = (share.logit() + math.log(99) - 9).round().long()
    counts = number.flatten().bincount(minlength=10)
    # Six standard deviations of how often one of 100 samples with a chance of 0.3 stays.
    assert_close(counts, torch.full((10,), 30), rtol=0, atol=int(6 * (100 * 0.3 * 0.7) ** 0.5))
    assert all(len(set(row)) == 3 for row in number.tolist())  # nothing twice


def test_fewer_samples_than_places_lie_in_front():
    state = PredictionBank(C, M)
    logits = right(torch.tensor([0, 2, 2]))
    for i in (0, 1, 2):
        teach(state, logits[[i]], torch.tensor([[0, 2, 2][i]]))
    state.update_soft_labels()
    assert_close(state.bank_count, torch.tensor([1.0, 0, 2]))
    assert_close(state.bank.sum(-1), torch.tensor([[1.0, 0, 0, 0], [0] * 4, [1, 1, 0, 0]]))
    # The mean of what is kept is the soft label, while all of it fits.
    assert_close(state.bank[2, :2].mean(0), state.soft_labels[2])

    state.update_soft_labels()  # nothing new: the banks are empty
    assert not state.bank_count.any()


def test_evaluation_changes_neither_the_bank_nor_the_random_numbers():
    state = PredictionBank(C, M).eval()
    logits = right(torch.tensor([0, 1]))
    before, numbers = tensors(state), torch.get_rng_state()
    teach(state, logits, torch.tensor([0, 1]))
    assert_close(tensors(state), before)
    assert torch.equal(torch.get_rng_state(), numbers)


def test_sigmoid_scores_are_divided_by_their_total_unless_their_mean_is_asked_for():
    prob, label = torch.tensor([[0.8, 0.1, 0.3], [0, 0, 0]]), torch.tensor([0, 0])
    logits = prob.logit(eps=1e-6)
    for divide_by, expected in (('total', prob[0] / 1.2), ('count', prob[0])):
        state = PredictionBank(C, M, divide_by=divide_by)
        state.accumulate(logits, prob, label, torch.tensor([True, True]))
        rows = state.reservoir[0][state.reservoir_key[0] > 0]
        assert any(torch.equal(row, expected) for row in rows)
        # What has underflowed has no total, and cannot be divided by it.
        assert len(rows) == (1 if divide_by == 'total' else 2)


# --- what is drawn -------------------------------------------------------------------------------


def filled(**options):
    """Class 0 has predictions 0, 1, 2 of four places, class 1 one, class 2 none."""
    state = PredictionBank(C, M, **options)
    state.bank.copy_(torch.arange(float(M))[:, None].expand_as(state.bank))
    state.bank_count[:2] = torch.tensor([3.0, 1])
    return state


def test_draws_are_uniform_over_the_places_taken():
    n = 9000
    drawn = filled().draw(torch.tensor([0, 1]).repeat(n))[:, 0]
    counts = drawn[::2].long().bincount(minlength=M)
    # Six standard deviations.
    expected = torch.tensor([n // 3] * 3 + [0])
    assert_close(counts, expected, rtol=0, atol=int(6 * (n * 2 / 9) ** 0.5))
    assert counts[3] == 0
    assert not drawn[1::2].any()


def test_empty_bank_gives_the_soft_label():
    drawn = filled(background=True).draw(torch.tensor([2, C]))
    assert_close(drawn, torch.tensor([[0.25] * 4, [0, 0, 0, 1.0]]))


def test_the_largest_random_number_draws_the_last_place():
    """Rounded up to the count, it would draw what is not there."""
    largest = 1 - 2.0**-24
    for count in (*range(1, 200), 1000, 4097):
        assert int(torch.tensor(float(count)) * torch.tensor(largest)) == count - 1


# --- what it is to PyTorch -----------------------------------------------------------------------


def taught():
    state = PredictionBank(C, M)
    for _ in range(2):
        label = torch.randint(C, (20,))
        teach(state, right(label), label)
        state.update_soft_labels()
    teach(state, right(label), label)
    return state


def test_state_dict_round_trip():
    state, other = taught(), PredictionBank(C, M)
    places = {name: getattr(other, name).data_ptr() for name in OWN}
    other.load_state_dict(state.state_dict())
    assert state.bank_count.all() and state.reservoir_key.any()
    assert_close(tensors(other), tensors(state))
    label = torch.tensor([0, 1, 2])
    teach(other, right(label), label)
    other.update_soft_labels()
    assert {name: getattr(other, name).data_ptr() for name in OWN} == places
    assert [name for name, _ in other.named_buffers()] == list(other.state_dict())


@pytest.mark.parametrize('name', OWN)
def test_missing_and_misshapen_keys(name):
    saved = taught().state_dict()
    wrong = dict(saved, **{name: torch.zeros(2)})
    with pytest.raises(RuntimeError, match=f'size mismatch for {name}'):
        PredictionBank(C, M).load_state_dict(wrong)
    del saved[name]
    with pytest.raises(RuntimeError, match=rf'Missing key\(s\) in state_dict: "{name}"'):
        PredictionBank(C, M).load_state_dict(saved)


@pytest.mark.parametrize('dtype', [torch.float16, torch.float64])
def test_conversion_of_the_model_changes_nothing(dtype):
    state = taught()
    before = tensors(state)
    torch.nn.ModuleList([state]).to(dtype)
    assert_close(tensors(state), before)  # compares dtypes, too


def test_move_and_load_onto_a_meta_model():
    state = taught()
    moved = copy.deepcopy(state).to('meta')
    assert all(getattr(moved, name).is_meta for name in OWN)
    moved.load_state_dict(state.state_dict(), assign=True)
    assert_close(tensors(moved), tensors(state))
