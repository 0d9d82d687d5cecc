"""Sparse soft labels: which entries are found, and that nothing needs the dense matrix."""

from __future__ import annotations

import copy
import functools
import math
from unittest import mock

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from mmdet_ols.core import SoftLabels, SparseSoftLabels, mix_targets, sparse_soft_labels
from mmdet_ols.core.sparse_soft_labels import Slots

C, M = 12, 2
OWN = (*SparseSoftLabels.in_use, *SparseSoftLabels.collected)


def tensors(state):
    return {name: value.clone() for name, value in state.state_dict().items()}


def exactly(actual, expected):
    assert_close(actual, expected, rtol=0, atol=0)


def teach(state, logits, label, teaches=None):
    teaches = torch.ones(len(label), dtype=bool) if teaches is None else teaches
    prob = logits.sigmoid() if state.divide_by == 'count' else logits.softmax(-1)
    state.accumulate(logits, prob, label, teaches)


def batch(n, columns=C, classes=C - 1):
    """Samples of which most are right; none of the last class."""
    label = torch.randint(classes, (n,))
    return torch.randn(n, columns) + 2 * torch.eye(columns)[label], label


def tracked(state, y):
    """{column: (sum, missed)} of a class."""
    slots = state.slot_column[y], state.slot_sum[y], state.slot_missed[y]
    return {
        j: (float(total), float(missed)) for j, total, missed in zip(slots[0].tolist(), *slots[1:])
    }


# --- the sketch ----------------------------------------------------------------------------------


class Sketch:
    """Of one class, as the docstring tells it, in dictionaries."""

    def __init__(self):
        self.slots = {j: (0.0, 0.0) for j in range(2 * M)}
        self.untracked = 0.0

    def add(self, row):
        others = {j: row[j] for j in range(C) if j not in self.slots}
        self.slots = {j: (total + row[j], missed) for j, (total, missed) in self.slots.items()}
        apply = sorted(others, key=others.get)[-M:]
        least = min(others[j] for j in apply)
        self.slots.update({j: (others[j], self.untracked) for j in apply})
        order = sorted(self.slots, key=lambda j: -sum(self.slots[j]))
        went = [sum(self.slots.pop(j)) for j in order[2 * M :]]
        self.untracked = max(self.untracked + least, *went)


def test_slots_are_those_of_the_sketch():
    """Over several batches, with several samples of a class in each."""
    state, sketches = SparseSoftLabels(C, M), [Sketch() for _ in range(C)]
    seen_in_a_batch = []
    for n in (60, 1, 7, 0, 90, 12, 50):
        logits, label = batch(n)
        logits[3::5, 1] = math.nan
        teaches = torch.arange(n) % 4 > 0
        teach(state, logits, label, teaches)
        sums = {}
        for z, y, may in zip(logits, label.tolist(), teaches):
            if may and not z.isnan().any() and z.argmax() == y:
                row = z.softmax(-1)
                sums[y] = sums[y] + row if y in sums else row
                seen_in_a_batch.append(y)
        for y, row in sums.items():
            sketches[y].add(row.tolist())
    assert len(seen_in_a_batch) > 50 and C - 1 not in seen_in_a_batch
    for y in range(C - 1):
        assert set(tracked(state, y)) == set(sketches[y].slots)
        for j, expected in sketches[y].slots.items():
            assert tracked(state, y)[j] == pytest.approx(expected, abs=1e-5)
        assert float(state.untracked[y]) == pytest.approx(sketches[y].untracked, abs=1e-5)
    assert max(max(missed for _, missed in s.slots.values()) for s in sketches) > 0.1
    assert not state.slot_sum[C - 1].any() and not state.prob_total[C - 1]


def true_sums(batches, size):
    dense = SoftLabels(size)
    for logits, label in batches:
        teach(dense, logits, label)
    return dense.prob_sum


def check_bounds(slots, sums):
    """`slots` (4 tensors) hold what they say of the true `sums`."""
    column, total, missed, untracked = slots
    of_slot = sums.gather(1, column.long())
    assert (total <= of_slot + 1e-3).all()
    assert (of_slot <= total + missed + 1e-3).all()
    others = sums.scatter(1, column.long(), 0)
    assert (others.amax(1) <= untracked + 1e-3).all()
    assert all(len(set(row)) == len(row) for row in column.tolist())


def test_bounds_hold_in_a_long_stream_and_after_merging(monkeypatch):
    monkeypatch.setattr(sparse_soft_labels, 'CLASSES_AT_A_TIME', 7)
    size = 60
    # Each of three classes is taken for some columns more often than for others.
    likes = -1.5 * torch.rand(3, size).argsort(1).add(2).log() + 3 * torch.eye(3, size)
    batches = [batch(50, size, 3) for _ in range(40)]
    batches = [(likes[label] + 0.7 * logits, label) for logits, label in batches]
    parts = batches[:10], batches[10:14], batches[14:]
    states = [SparseSoftLabels(size, 4) for _ in parts]
    for state, part in zip(states, parts):
        for logits, label in part:
            teach(state, logits, label)
        check_bounds(state._slots(), true_sums(part, size))
    merged = functools.reduce(Slots.merged, [state._slots() for state in states])
    sums = true_sums(batches, size)
    check_bounds(merged, sums)
    assert (sums > 0).all(1).sum() == 3
    # And the four that count are found, with nearly all of their sums.
    total, place = merged.total[:3].topk(4)
    best, column = sums[:3].topk(4)
    exactly(merged.column[:3].gather(1, place), column)
    assert (total > 0.95 * best).all()


def test_merging_by_hand():
    """Column 1 is tracked by both, 0 and 2 by one: the other may have missed something of them."""

    def slots(column, total, missed, untracked):
        return Slots(
            torch.tensor([column]), torch.tensor([total]), torch.tensor([missed]),
            torch.tensor([untracked]),
        )  # fmt: skip

    one = slots([0, 1], [5.0, 3.0], [0.0, 1.0], 2.0)
    other = slots([1, 2], [4.0, 1.0], [0.25, 0.0], 0.5)
    exactly(one.merged(other), slots([1, 0], [7.0, 5.0], [1.25, 0.5], 3.0))
    exactly(other.merged(one), one.merged(other))
    nothing = slots([0, 1], [0.0, 0.0], [0.0, 0.0], 0.0)
    for merged in (one.merged(nothing), nothing.merged(one)):
        exactly(merged, one)


def test_what_grows_in_small_steps_gets_its_slot():
    """Column 11 is never the largest newcomer's equal, but in the end second to its class alone."""
    state = SparseSoftLabels(C, 1)
    first = torch.tensor([0.5, *[0.05] * 10, 0.0])
    small = torch.tensor([0.9, *[0.0] * 10, 0.04])
    for row, count in ((first, 1), (small, 30)):
        for _ in range(count):
            state.accumulate(row[None], row[None], torch.tensor([0]), torch.tensor([True]))
    assert 11 in tracked(state, 0)
    assert tracked(state, 0)[11][0] > 0.9 * 30 * 0.04
    state.update_soft_labels()
    expected = (0.5 + 30 * 0.9) / (1 + 30 * 0.94)
    assert_close(state.soft_labels[0, 0], torch.tensor(expected))
    assert_close(state.soft_labels[0, 1:], torch.full((11,), (1 - expected) / 11))


# --- the roll-over -------------------------------------------------------------------------------


def test_the_largest_sums_come_into_use_and_the_rest_is_even():
    state = SparseSoftLabels(C, M)
    for _ in range(4):
        teach(state, *batch(60))
    held = [tracked(state, y) for y in range(C)]
    total = state.prob_total.clone()
    state.update_soft_labels()
    for y in range(C - 1):
        kept = sorted(held[y], key=lambda j: -held[y][j][0])[:M]
        share = {j: held[y][j][0] / float(total[y]) for j in kept}
        assert state.soft_columns[y].tolist() == kept
        rest = (1 - sum(share.values())) / (C - M)
        expected = torch.tensor([share.get(j, rest) for j in range(C)])
        assert_close(state.soft_labels[y], expected)
    assert_close(state.soft_labels[C - 1], torch.full((C,), 1 / C))  # kept
    for name in state.collected:
        assert not getattr(state, name).any()


@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(background=True),
        dict(start='zeros', empty_class='uniform'),
        dict(freeze_confidence=0.5),
        dict(start='label_smoothing', freeze_confidence=0.85, empty_class='uniform'),
        dict(divide_by='count', background=True, empty_class='uniform'),
    ],
    ids=lambda options: ','.join(map(str, options)) or 'plain',
)
def test_with_all_entries_it_is_the_dense_state(options):
    dense, sparse = SoftLabels(C, **options), SparseSoftLabels(C, **options)  # m is 100
    assert_close(sparse.soft_labels, dense.soft_labels)
    for _ in range(3):
        for n in (60, 1, 30):
            logits, label = batch(n, dense.num_columns)
            for state in (dense, sparse):
                teach(state, logits, label)
            sums = torch.zeros_like(dense.prob_sum)
            column = sparse._slots().column
            assert_close(sums.scatter_(1, column, sparse.slot_sum), dense.prob_sum)
        for name in ('correct_count', 'sample_count'):
            exactly(getattr(sparse, name), getattr(dense, name))
        reports = [state.update_soft_labels() for state in (dense, sparse)]
        assert_close(reports[1]._asdict(), reports[0]._asdict())
        assert_close(sparse.soft_labels, dense.soft_labels)
        assert not sparse.soft_rest.any()


@pytest.mark.parametrize('start', ['uniform', 'zeros', 'label_smoothing', 'hard'])
@pytest.mark.parametrize('background', [False, True])
@pytest.mark.parametrize('m', [1, 3])
def test_start_needs_no_more_entries(start, background, m):
    dense = SoftLabels(C, background, start).soft_labels
    assert_close(SparseSoftLabels(C, m, background=background, start=start).soft_labels, dense)


def test_empty_and_frozen_classes_of_few_entries():
    state = SparseSoftLabels(C, M, empty_class='uniform', freeze_confidence=0.9)
    logits = 9 * torch.eye(C)[[0, 1]]
    teach(state, logits, torch.tensor([0, 1]))
    state.update_soft_labels()
    confident = state.soft_labels[:2].clone()
    assert confident.diagonal().min() > 0.9
    assert_close(state.soft_labels[2:], torch.full((C - 2, C), 1 / C))
    teach(state, *batch(50))
    state.update_soft_labels()
    exactly(state.soft_labels[:2], confident)
    assert state.soft_labels[2:-1].amax() > 0.2


@pytest.mark.parametrize(('m', 'lead'), [(M, 0), (1, 4)])
def test_report_of_few_entries(m, lead):
    """Where the background leads, the one entry that is kept is not the class itself."""
    state = SparseSoftLabels(C, m, background=True)
    logits, label = batch(200, C + 1)
    logits[:, C] += lead
    teach(state, logits, label)
    report = state.update_soft_labels()
    rows = state.soft_labels[:C]
    assert (rows.argmax(1) == C).sum() == (C - 1 if lead else 0)
    assert_close(report.confidence, rows.diagonal().mean())
    assert_close(report.entropy, -(rows * rows.log()).sum(1).mean())


# --- targets -------------------------------------------------------------------------------------


@pytest.mark.parametrize('selects', [False, True])
@pytest.mark.parametrize('m', [M, C])
def test_mixed_targets_are_those_of_the_matrix(m, selects):
    state = SparseSoftLabels(C, m)
    for _ in range(3):
        teach(state, *batch(60))
    state.update_soft_labels()
    label, valid = torch.randint(C, (20,)), torch.arange(20) % 3 > 0
    label[~valid] = -100
    rows = torch.eye(C)[label.clamp(min=0)] * 0.3
    rows += 0.5 * torch.eye(C)[torch.randint(C, (20,))]
    rows[4] = 0
    for labels, there in (
        (label, valid),
        (rows, rows > 0.2),
        (torch.rand(5, C), torch.rand(5, C) > 0),
    ):
        for dtype in (torch.float32, torch.float64):
            expected = mix_targets(labels, state.soft_labels.to(dtype), 0.3, there)
            with mock.patch.object(sparse_soft_labels, 'may_select', lambda _: selects):
                actual = state.mixed_targets(labels, 0.3, there, dtype)
                assert_close(actual, expected, rtol=1e-5, atol=1e-6)
                with torch.autocast('cpu', torch.bfloat16):
                    exactly(state.mixed_targets(labels, 0.3, there, dtype), actual)


# --- what a step needs ---------------------------------------------------------------------------


class LargestTensor(TorchDispatchMode):
    """Remembers how many entries the largest result of an operation had."""

    entries = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        results = func(*args, **(kwargs or {}))
        for result in results if isinstance(results, (tuple, list)) else [results]:
            if isinstance(result, torch.Tensor):
                self.entries = max(self.entries, result.numel())
        return results


def test_nothing_makes_a_matrix():
    size, n = 300, 4
    data = [batch(n, size + 1) for _ in range(2)]
    with LargestTensor() as largest:
        state = SparseSoftLabels(size, 5, background=True)
        for logits, label in data:
            state.mixed_targets(label, 0.5, label >= 0, torch.float32)
            rows = torch.zeros(n, size + 1).scatter_(1, label[:, None], 1)
            state.mixed_targets(rows, 0.5, rows >= 0, torch.float32)
            teach(state, logits, label)
            slots = state._slots()
            slots.merged(slots)
            state.update_soft_labels()
        SparseSoftLabels(size, 5, background=True).load_state_dict(state.state_dict())
    # Twice the slots, in merging, are the most.
    assert largest.entries <= 2 * 10 * (size + 1)
    assert largest.entries < (size + 1) ** 2 / 10


def test_no_operation_waits_for_its_result():
    """Fake tensors have no values: code that asks for one fails."""
    with FakeTensorMode():
        state = SparseSoftLabels(C, M)
        logits, label = torch.randn(7, C), torch.zeros(7, dtype=torch.int64)
        for labels in (label, torch.rand(7, C)):
            state.mixed_targets(labels, 0.5, labels >= 0, torch.float32)
        teach(state, logits, label)
        state.update_soft_labels()
        with pytest.raises(Exception, match='_local_scalar_dense'):  # as this does
            bool(state.slot_sum.any())


@pytest.mark.parametrize('m', [M, C])
def test_a_gpu_that_cannot_select_learns_the_same(m):
    on_cpu = SparseSoftLabels(C, m)
    elsewhere = copy.deepcopy(on_cpu)
    everyone = torch.arange(C).repeat(2)
    all_classes = 9 * torch.eye(C)[everyone]
    all_classes[C:] *= -1  # and for each, one that is wrong
    for n in (40, 3, 1, 25, 2 * C):
        for right in (True, False):
            logits, label = (all_classes, everyone) if n == 2 * C else batch(n)
            if not right:
                logits = -logits
                logits[::2] = math.nan
            teach(on_cpu, logits, label)
            before = tensors(elsewhere)
            with mock.patch.object(sparse_soft_labels, 'may_select', lambda _: False):
                teach(elsewhere, logits, label)
            assert_close(tensors(elsewhere), tensors(on_cpu))
            if not right and on_cpu.correct_count.equal(before['correct_count']):
                before['sample_count'] = elsewhere.sample_count
                exactly(tensors(elsewhere), before)
    assert on_cpu.correct_count.sum() > 10


def test_evaluation_teaches_nothing():
    state = taught().eval()
    before = tensors(state)
    teach(state, *batch(9))
    exactly(tensors(state), before)


@pytest.mark.parametrize('top_m', [0, -1, 2.5, None])
def test_top_m_is_checked(top_m):
    with pytest.raises(ValueError, match='`top_m` must be a positive integer, but got'):
        SparseSoftLabels(C, top_m)


# --- what it is to PyTorch -----------------------------------------------------------------------


def taught():
    """In the middle of the second period."""
    state = SparseSoftLabels(C, M)
    for _ in range(2):
        teach(state, *batch(50))
        state.update_soft_labels()
    for _ in range(3):
        teach(state, *batch(50))
    return state


def test_state_dict_resumes_exactly():
    state, other = taught(), SparseSoftLabels(C, M)
    places = {name: getattr(other, name).data_ptr() for name in OWN}
    other.load_state_dict(state.state_dict())
    for _ in range(3):
        data = batch(30)
        for each in (state, other):
            teach(each, *data)
    assert state.untracked.any()
    exactly(tensors(other), tensors(state))
    for each in (state, other):
        each.update_soft_labels()
    exactly(tensors(other), tensors(state))
    assert {name: getattr(other, name).data_ptr() for name in OWN} == places
    assert [name for name, _ in other.named_buffers()] == list(OWN)
    assert set(other.state_dict()) == set(OWN)


@pytest.mark.parametrize('name', OWN)
def test_missing_and_misshapen_keys(name):
    saved = taught().state_dict()
    with pytest.raises(RuntimeError, match=f'size mismatch for {name}'):
        SparseSoftLabels(C, M).load_state_dict(dict(saved, **{name: torch.zeros(1, 1, 1)}))
    del saved[name]
    with pytest.raises(RuntimeError, match=rf'Missing key\(s\) in state_dict: "{name}"'):
        SparseSoftLabels(C, M).load_state_dict(saved)


@pytest.mark.parametrize('dtype', [torch.float16, torch.float64])
def test_conversion_of_the_model_changes_nothing(dtype):
    state = taught()
    before = tensors(state)
    torch.nn.ModuleList([state]).to(dtype)
    exactly(tensors(state), before)  # compares dtypes, too


def test_move_and_load_onto_a_meta_model():
    state = taught()
    moved = copy.deepcopy(state).to('meta')
    assert all(getattr(moved, name).is_meta for name in OWN)
    moved.load_state_dict(state.state_dict(), assign=True)
    exactly(tensors(moved), tensors(state))
