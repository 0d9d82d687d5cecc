"""The soft labels: what is counted, and what a roll-over makes of it."""

from __future__ import annotations

import copy
import math
import shutil

import pytest
import torch
from reference import Reference
from test_core.steps import STATE, C, random_batch, teach, tensors, two_and_one_correct
from torch.testing import assert_close
from torch_releases import IS_OLDEST

from mmdet_ols.core import SUMS, SoftLabels, soft_labels

# --- the start -----------------------------------------------------------------------------------


@pytest.mark.parametrize('background', [False, True])
@pytest.mark.parametrize('start', ['uniform', 'zeros', 'label_smoothing', 'hard'])
def test_start(start, background):
    state = SoftLabels(C, background, start)
    assert_close(tensors(state), Reference(C, background=background, start=start).tensors())


def test_samples_count_where_there_are_millions_already():
    """float32 holds no 2^24 + 1: added one by one, none of these would count."""
    state = SoftLabels(C)
    state.sample_count.fill_(2**24)
    state.correct_count.fill_(2**24)
    state.prob_sum.fill_(2**23)
    logits, label = torch.tensor([[0.0, 1, 2]]).repeat(1000, 1), torch.full((1000,), 2)
    teach(state, logits, label)
    before = torch.tensor([2.0**24, 2**24, 2**24 + 1000])
    assert_close(state.sample_count, before, rtol=0, atol=0)
    assert_close(state.correct_count, before, rtol=0, atol=0)
    # One rounding to a whole number at most.
    assert_close(state.prob_sum[2] - 2**23, 1000 * logits[0].softmax(-1), rtol=0, atol=0.5)


def test_label_smoothing_of_a_single_class_is_that_class():
    assert_close(SoftLabels(1, start='label_smoothing').soft_labels, torch.ones(1, 1))


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(num_classes=0), '`num_classes` must be a positive integer, but got 0'),
        (dict(num_classes=2.0), '`num_classes` must be a positive integer, but got 2.0'),
        (dict(num_classes=2, start='ones'), "`start` must be one of .*'uniform'.* got 'ones'"),
        (dict(num_classes=2, empty_class='zeros'), "`empty_class` must be one of .* got 'zeros'"),
        (dict(num_classes=2, freeze_confidence=0), r'`freeze_confidence` .* in \(0, 1\].* got 0'),
        (dict(num_classes=2, freeze_confidence=88), r'`freeze_confidence` .* in \(0, 1\].* got 88'),
        (dict(num_classes=2, start='hard', freeze_confidence=0.9), "would never let start='hard'"),
    ],
)
def test_bad_settings_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        SoftLabels(**kwargs)


# --- counting ------------------------------------------------------------------------------------


@pytest.mark.parametrize('use_sigmoid', [False, True])
@pytest.mark.parametrize('background', [False, True])
def test_sums_equal_those_of_a_loop(background, use_sigmoid):
    logits, label = random_batch(columns=C + background)
    teaches = torch.rand(len(label)) < 0.7
    state = SoftLabels(C, background)
    teach(state, logits, label, teaches, use_sigmoid)
    reference = Reference(C, background=background, use_sigmoid=use_sigmoid)
    for i in range(len(label)):
        reference.learn(logits[i], int(label[i]), weight=float(teaches[i]))
    assert min(reference.correct_count[:C]) > 0
    assert_close(tensors(state), reference.tensors())


def test_parts_of_a_batch_add_up_to_the_batch():
    logits, label = random_batch()
    whole, parts = SoftLabels(C), SoftLabels(C)
    teach(whole, logits, label)
    for part in (slice(0, 7), slice(7, 7), slice(7, None)):
        teach(parts, logits[part], label[part])
    assert whole.correct_count.sum() > 0
    assert_close(tensors(parts), tensors(whole))


def test_evaluation_teaches_nothing():
    state = SoftLabels(C).eval()
    before = tensors(state)
    teach(state, *random_batch())
    assert_close(tensors(state), before)


def test_only_the_foreground_columns_decide_who_is_correct():
    """In a detector's softmax the background may score highest and the class still be right."""
    state = SoftLabels(C, background=True)
    logits = torch.tensor([[2.0, 1, 0, 9]])
    teach(state, logits, torch.tensor([0]))
    assert_close(state.correct_count, torch.tensor([1.0, 0, 0, 0]))
    assert_close(state.prob_sum[0], logits[0].softmax(0))
    # The report's confidence is in the own class all the same; the other classes stay uniform.
    own = logits[0].softmax(0)[0]
    assert_close(state.update_soft_labels().confidence, (own + 2 / 4) / 3)


def test_the_entropy_of_rows_that_do_not_sum_to_1_is_that_of_their_shares():
    state = SoftLabels(2, divide_by='count')
    scores, prob = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.6, 0.2]])
    state.accumulate(scores, prob, torch.tensor([0]), torch.tensor([True]))
    first = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))  # the other class stays uniform
    assert_close(state.update_soft_labels().entropy, torch.tensor((first + math.log(2)) / 2))


@pytest.mark.parametrize('use_sigmoid', [False, True])
@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize('column', [0, 1])
def test_row_that_is_not_finite_adds_nothing_and_the_others_count(column, value, use_sigmoid):
    good, label = torch.tensor([[5.0, 0, 0], [0, 0, 5.0]]), torch.tensor([0, 2])
    expected = SoftLabels(C)
    teach(expected, good, label, use_sigmoid=use_sigmoid)

    bad = torch.tensor([[5.0, 0, 0]])  # would be right, were it not for the one value
    bad[0, column] = value
    state = SoftLabels(C)
    teach(
        state,
        torch.cat([good[:1], bad, good[1:]]),
        torch.tensor([0, 0, 2]),
        use_sigmoid=use_sigmoid,
    )
    assert_close(expected.correct_count, torch.tensor([1.0, 0, 1]))
    assert_close(tensors(state), tensors(expected))


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which('c++'), reason='needs a C++ compiler')
@pytest.mark.xfail(
    IS_OLDEST,
    reason='the compiler of torch 2.1 takes rows with the least finite score for not finite',
)
def test_a_compiler_does_not_calculate_away_what_is_not_finite():
    """PyTorch's compiler assumes that a factor of 0 gives 0."""
    logits = 5 * torch.eye(5)
    for row, value in ((1, math.nan), (2, math.inf), (3, -math.inf)):
        logits[row, 0] = value
    logits[4, :2] = torch.finfo(torch.float32).min  # masks, which are finite
    arguments = logits, torch.rand(5, 5), torch.arange(5), torch.ones(5, dtype=bool)
    state, compiled = SoftLabels(5), SoftLabels(5)
    state.accumulate(*arguments)
    torch.compile(SoftLabels.accumulate)(compiled, *arguments)
    assert state.sample_count.tolist() == state.correct_count.tolist() == [1, 0, 0, 0, 1]
    assert_close(tensors(compiled), tensors(state))


def test_labels_of_samples_that_do_not_teach_are_never_looked_at():
    state = SoftLabels(C)
    teach(state, torch.zeros(3, C), torch.tensor([-100, 255, C]), torch.zeros(3, dtype=bool))
    assert_close(tensors(state), tensors(SoftLabels(C)))


def test_sums_carry_no_gradient():
    state = SoftLabels(C)
    logits = torch.randn(4, C, requires_grad=True)
    teach(state, logits, torch.arange(4) % C)
    assert not any(getattr(state, name).requires_grad for name in STATE)


# --- rolling over --------------------------------------------------------------------------------


def test_roll_over_by_hand():
    state = two_and_one_correct()
    assert_close(state.prob_sum, torch.tensor([[1.4, 0.5, 0.1], [0.2, 0.5, 0.3], [0, 0, 0]]))
    assert_close(state.correct_count, torch.tensor([2.0, 1, 0]))
    assert_close(state.sample_count, torch.tensor([2.0, 2, 1]))

    report = state.update_soft_labels()

    third = 1 / 3
    expected = torch.tensor([[0.7, 0.25, 0.05], [0.2, 0.5, 0.3], [third, third, third]])
    assert_close(state.soft_labels, expected)
    for name in SUMS:
        assert_close(getattr(state, name), torch.zeros_like(getattr(state, name)))

    entropies = [
        -0.7 * math.log(0.7) - 0.25 * math.log(0.25) - 0.05 * math.log(0.05),
        -0.2 * math.log(0.2) - 0.5 * math.log(0.5) - 0.3 * math.log(0.3),
        math.log(3),
    ]
    assert_close(report.correct_share, torch.tensor(3 / 5))
    assert_close(report.empty_classes, torch.tensor(1.0))
    assert_close(report.confidence, torch.tensor((0.7 + 0.5 + third) / 3))
    assert_close(report.entropy, torch.tensor(sum(entropies) / 3))


@pytest.mark.parametrize('background', [False, True])
@pytest.mark.parametrize('entries', [1, 15])
def test_roll_over_in_blocks_is_the_same(entries, background, monkeypatch):
    whole = SoftLabels(7, background, freeze_confidence=0.6)
    teach(whole, *random_batch(60, 7 + background, 7))
    blocks = copy.deepcopy(whole)
    for _ in range(2):
        expected = whole.update_soft_labels()
        with monkeypatch.context() as changed:
            changed.setattr(soft_labels, 'BLOCK_ENTRIES', entries)
            assert_close(blocks.update_soft_labels(), expected, equal_nan=True)
        assert_close(tensors(blocks), tensors(whole), rtol=0, atol=0)
        for state in (whole, blocks):
            state.prob_sum.copy_(torch.eye(7 + background) + 0.1)
            state.correct_count.fill_(1)


def test_report_leaves_the_background_out():
    state = SoftLabels(2, background=True)
    prob = torch.tensor([[0.6, 0.2, 0.2]])
    state.accumulate(prob, prob, torch.tensor([0]), torch.tensor([True]))
    report = state.update_soft_labels()
    assert_close(report.empty_classes, torch.tensor(1.0))
    assert_close(report.confidence, torch.tensor((0.6 + 1 / 3) / 2))
    entropy = -0.6 * math.log(0.6) - 0.4 * math.log(0.2)
    assert_close(report.entropy, torch.tensor((entropy + math.log(3)) / 2))


def test_report_of_a_period_without_samples():
    report = SoftLabels(C).update_soft_labels()
    assert report.correct_share.isnan()
    assert_close(report.empty_classes, torch.tensor(3.0))


def test_nothing_seen_changes_nothing():
    state = two_and_one_correct()
    state.update_soft_labels()
    before = tensors(state)
    state.update_soft_labels()
    assert_close(tensors(state), before)


@pytest.mark.parametrize('use_sigmoid', [False, True])
@pytest.mark.parametrize('background', [False, True])
@pytest.mark.parametrize('empty_class', ['keep', 'uniform'])
def test_rows_sum_to_one_and_the_background_stays_one_hot(empty_class, background, use_sigmoid):
    state = SoftLabels(C, background, empty_class=empty_class)
    for _ in range(3):
        # Class 2 is never seen, and background samples are passed in by mistake.
        label = torch.tensor([0, 1] * 20 + [C] * 5 * background)
        teach(state, torch.randn(len(label), C + background), label, use_sigmoid=use_sigmoid)
        state.update_soft_labels()
        assert_close(state.soft_labels.sum(1), torch.ones(C + background))
        if background:
            assert_close(state.soft_labels[-1], torch.tensor([0.0, 0, 0, 1]))


@pytest.mark.parametrize(
    ('empty_class', 'expected'), [('keep', [0.05, 0.9, 0.05]), ('uniform', [1 / 3] * 3)]
)
def test_class_without_a_correct_sample(empty_class, expected):
    state = SoftLabels(C, start='label_smoothing', empty_class=empty_class)
    teach(state, torch.eye(C)[[0, 2, 2]], torch.tensor([0, 2, 1]))  # the last one is wrong
    state.update_soft_labels()
    assert_close(state.soft_labels[1], torch.tensor(expected))
    assert state.soft_labels[0].argmax() == 0


def test_correct_samples_whose_sigmoid_scores_underflow_keep_the_row():
    state = SoftLabels(C)
    teach(state, torch.full((1, C), -500.0), torch.tensor([0]), use_sigmoid=True)
    assert_close(state.correct_count, torch.tensor([1.0, 0, 0]))
    state.update_soft_labels()
    assert_close(state.soft_labels, torch.full((C, C), 1 / 3))


def test_freeze_by_hand():
    """0.88 is compared with the row in use: the one that first exceeds it still comes in."""
    state = SoftLabels(2, freeze_confidence=0.88)
    confidences = [0.87, 0.95, 0.5]
    in_use = []
    for confidence in confidences:
        prob = torch.tensor([[confidence, 1 - confidence], [0.4, 0.6]])
        state.accumulate(prob, prob, torch.tensor([0, 1]), torch.ones(2, dtype=bool))
        state.update_soft_labels()
        in_use.append(state.soft_labels[0, 0].item())
        assert_close(state.soft_labels[1], torch.tensor([0.4, 0.6]))
    assert in_use == pytest.approx([0.87, 0.95, 0.95])


def test_row_that_starts_at_the_freeze_confidence_is_never_replaced():
    state = SoftLabels(2, start='label_smoothing', freeze_confidence=0.9)
    before = state.soft_labels.clone()
    prob = torch.tensor([[0.6, 0.4]])
    state.accumulate(prob, prob, torch.tensor([0]), torch.tensor([True]))
    state.update_soft_labels()
    assert_close(state.soft_labels, before)


def test_tensors_stay_where_they_are():
    """EMA, DDP and CUDA graphs hold on to the storage."""
    state = SoftLabels(C)
    places = {name: getattr(state, name).data_ptr() for name in STATE}
    teach(state, *random_batch())
    state.update_soft_labels()
    state.reduce_sums()
    state.load_state_dict(two_and_one_correct().state_dict())
    state.reset_sums()
    assert {name: getattr(state, name).data_ptr() for name in STATE} == places


def test_reduce_sums_of_a_single_process_changes_nothing():
    state = two_and_one_correct()
    before = tensors(state)
    state.reduce_sums()
    assert_close(tensors(state), before)
