"""The soft-label state: what it counts, what it keeps, and what it is in a checkpoint."""

from __future__ import annotations

import copy
import io
import math
import pickle
import shutil
import warnings

import pytest
import torch
from reference import Reference
from torch import nn
from torch.testing import assert_close

from mmdet_ols.core import SUMS, SoftLabels, soft_labels

C = 3
STATE = ('soft_labels', *SUMS)


def tensors(state):
    return {name: getattr(state, name).clone() for name in STATE}


def teach(state, logits, label, teaches=None, use_sigmoid=False):
    prob = logits.sigmoid() if use_sigmoid else logits.softmax(-1)
    teaches = torch.ones(len(label), dtype=bool) if teaches is None else teaches
    state.accumulate(logits, prob, label, teaches)


def random_batch(n=40, columns=C, classes=C):
    return torch.randn(n, columns), torch.randint(classes, (n,))


# --- the start -----------------------------------------------------------------------------------


@pytest.mark.parametrize('background', [False, True])
@pytest.mark.parametrize('start', ['uniform', 'zeros', 'label_smoothing'])
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
def test_a_compiler_does_not_calculate_away_what_is_not_finite():
    """PyTorch's own takes a factor of 0 for a result of 0."""
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


def two_and_one_correct():
    """Class 0: two correct samples; class 1: one of two; class 2: none of one."""
    state = SoftLabels(C)
    prob = torch.tensor([[0.8, 0.1, 0.1], [0.6, 0.4, 0], [0.2, 0.5, 0.3], [0.9, 0.1, 0], [1, 0, 0]])
    label = torch.tensor([0, 0, 1, 1, 2])
    # Scores in the order of the probabilities are all that `accumulate` looks at.
    state.accumulate(prob, prob, label, torch.ones(5, dtype=bool))
    return state


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
        # Class 2 is never seen, and background samples are handed over by mistake.
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


# --- what it is to PyTorch -----------------------------------------------------------------------


def test_everything_that_is_saved_is_a_buffer():
    """Loaders of the ecosystem know parameters and buffers only."""
    state = SoftLabels(C)
    assert [name for name, _ in state.named_buffers()] == list(STATE)
    assert not list(state.parameters())
    assert list(state.state_dict()) == list(STATE)


def test_state_dict_round_trip_within_a_model():
    def model():
        return nn.ModuleDict(dict(head=nn.Linear(2, C), loss=SoftLabels(C)))

    source, target = model(), model()
    teach(source['loss'], *random_batch())
    source['loss'].update_soft_labels()
    teach(source['loss'], *random_batch())
    file = io.BytesIO()
    torch.save(source.state_dict(), file)
    file.seek(0)

    target.load_state_dict(torch.load(file, weights_only=True))

    assert source['loss'].correct_count.sum() > 0
    assert_close(target.state_dict(), source.state_dict())
    assert_close(tensors(target['loss']), tensors(source['loss']))


@pytest.mark.parametrize('name', STATE)
def test_missing_key(name):
    saved = two_and_one_correct().state_dict()
    del saved[name]
    with pytest.raises(RuntimeError, match=rf'Missing key\(s\) in state_dict: "{name}"'):
        SoftLabels(C).load_state_dict(saved)

    state = SoftLabels(C)
    result = state.load_state_dict(saved, strict=False)
    assert (result.missing_keys, result.unexpected_keys) == ([name], [])
    assert_close(getattr(state, name), getattr(SoftLabels(C), name))


def test_unexpected_key():
    saved = two_and_one_correct().state_dict()
    saved['mystery'] = torch.zeros(1)
    with pytest.raises(RuntimeError, match=r'Unexpected key\(s\) in state_dict: "mystery"'):
        SoftLabels(C).load_state_dict(saved)


@pytest.mark.parametrize('name', STATE)
def test_key_of_another_shape(name):
    saved = two_and_one_correct().state_dict()
    saved[name] = torch.zeros(2)
    with pytest.raises(RuntimeError, match=rf'size mismatch for loss\.{name}'):
        nn.ModuleDict(dict(loss=SoftLabels(C))).load_state_dict(
            {f'loss.{key}': value for key, value in saved.items()}
        )


def test_loading_onto_a_meta_model():
    """`assign=True` is how a model made without memory takes its weights."""
    with torch.device('meta'):
        state = SoftLabels(C)
    saved = two_and_one_correct().state_dict()
    state.load_state_dict(saved, assign=True)
    assert_close(state.state_dict(), saved)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_conversion_of_the_model_leaves_float32(dtype):
    state = two_and_one_correct()
    before = tensors(state)
    nn.ModuleList([state]).to(dtype)
    assert_close(tensors(state), before)  # compares dtypes, too


def test_move_takes_all_four_tensors_along():
    state = two_and_one_correct()
    nn.ModuleList([state]).to('meta')
    assert {name: getattr(state, name).device.type for name in STATE} == dict.fromkeys(
        STATE, 'meta'
    )
    assert [name for name, _ in state.named_buffers()] == list(STATE)


def test_deepcopy_is_independent():
    state = two_and_one_correct()
    before = tensors(state)
    twin = copy.deepcopy(state)
    assert_close(tensors(twin), before)
    teach(twin, *random_batch())
    twin.update_soft_labels()
    assert_close(tensors(state), before)


def test_pickle_round_trip():
    state = two_and_one_correct()
    assert_close(tensors(pickle.loads(pickle.dumps(state))), tensors(state))


# --- the reminder --------------------------------------------------------------------------------


def test_warning_when_nobody_rolls_over():
    state = SoftLabels(C)
    state.train()
    teach(state, *random_batch())
    model = nn.ModuleList([state])
    model.eval()
    with pytest.warns(UserWarning, match=r'not updated yet.*OLSHook.*update_soft_labels\(\)'):
        model.train()
    assert state.training
    with warnings.catch_warnings():  # once is enough
        warnings.simplefilter('error')
        model.train()


@pytest.mark.parametrize('cared_for', ['rolled over', 'scheduled', 'evaluated only', 'to eval'])
def test_no_warning(cared_for):
    state = SoftLabels(C)
    if cared_for == 'scheduled':
        state.roll_over_scheduled = True
    if cared_for == 'evaluated only':
        state.eval()
    teach(state, *random_batch())
    if cared_for == 'rolled over':
        state.update_soft_labels()
        teach(state, *random_batch())
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        state.train(cared_for != 'to eval')
