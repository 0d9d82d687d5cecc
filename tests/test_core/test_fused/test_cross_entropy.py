"""The fused step against the loops of `reference.py` and the plain operations."""

from __future__ import annotations

import copy

import pytest
import torch
from reference import Reference
from test_core.test_fused.steps import (
    CLOSE,
    assert_equals_plain,
    batch,
    fused_step,
    make_state,
    plain_step,
    tensors,
)
from torch import nn
from torch.testing import assert_close

from mmdet_ols.core import (
    SoftLabels,
    compiled_library,
    cross_entropy,
    fused_cross_entropy,
    mix_targets,
)
from mmdet_ols.core.fused import cross_entropy as step_module

#: Around the 16 lanes of a vector, and many vectors.
COLUMNS = (1, 2, 3, 10, 15, 16, 17, 20, 33, 100, 1000)
#: Columns and background; with 17 and 33 columns the background is alone in its vector.
FORMS = [(columns, False) for columns in COLUMNS] + [(columns, True) for columns in COLUMNS[1:]]
ALL_FORMS = pytest.mark.parametrize(('columns', 'background'), FORMS)


# --- numbers -------------------------------------------------------------------------------------


@ALL_FORMS
@pytest.mark.parametrize('alpha', [0.0, 0.3, 1.0])
def test_equals_the_plain_operations(alpha, columns, background):
    forms = (lambda n: torch.rand(n) * (torch.rand(n) < 0.6), lambda n: None, torch.zeros)
    for weigh in forms if columns < 1000 else forms[:1]:
        logits, label = batch(columns)
        weight = weigh(len(label))
        state = make_state(columns, background)
        assert_equals_plain(logits, label, weight, 0.7, alpha, state)


@pytest.mark.parametrize(('columns', 'background'), [(5, False), (16, False), (33, True)])
@pytest.mark.parametrize('start', ['uniform', 'zeros', 'label_smoothing', 'hard'])
def test_equals_the_plain_operations_from_each_start(start, columns, background):
    """Rows of zeros, too."""
    logits, label = batch(columns)
    state = make_state(columns, background, start)
    assert_equals_plain(logits, label, None, 0.7, 0.3, state)


@pytest.mark.parametrize(('columns', 'background'), [form for form in FORMS if form[0] < 100])
def test_equals_the_loop_over_samples(columns, background):
    state = make_state(columns, background)
    naive = Reference(state.num_classes, 0.3, background=background)
    naive.soft_labels = state.soft_labels.tolist()
    logits, label = batch(columns, n=10)
    weight = torch.rand(10)
    weight[3::4] = 0

    got = fused_step(logits, label, weight, 0.25, 0.3, state)

    scores = logits.double().requires_grad_()
    loss = 0
    for i, y in enumerate(label.tolist()):
        loss = loss + 0.25 * float(weight[i]) * sum(naive.loss(scores[i], y))
        naive.learn(scores[i], y, float(weight[i]))
    expected = loss.detach().float(), torch.autograd.grad(loss, scores)[0].float()
    assert_close(got, expected, **CLOSE)
    assert sum(naive.sample_count) < 10
    assert state.num_classes == 1 or sum(naive.correct_count) > 0
    assert_close(tensors(state), naive.tensors(), **CLOSE)


@ALL_FORMS
def test_bfloat16_is_computed_in_float32_and_its_gradient_rounded_once(columns, background):
    state = make_state(columns, background)
    same = copy.deepcopy(state)
    logits, label = batch(columns)
    logits, weight = logits.bfloat16(), torch.rand(len(label))
    loss, gradient = fused_step(logits, label, weight, 1.0, 0.3, state)
    expected, full_gradient = fused_step(logits.float(), label, weight, 1.0, 0.3, same)
    exactly = dict(rtol=0, atol=0)
    assert_close((loss, gradient), (expected, full_gradient.bfloat16()), **exactly)
    assert_close(tensors(state), tensors(same), **exactly)


@pytest.mark.parametrize('step', [1, 3, 5])
def test_bfloat16_gradient_in_the_middle_goes_to_the_even_one(step):
    logits = torch.zeros(1, 2, dtype=torch.bfloat16)
    factor = 1 + step * 2.0**-8  # both scores' gradients are half of it
    _, gradient = fused_step(logits, torch.tensor([0]), None, factor, 1.0, SoftLabels(2))
    expected = torch.tensor([[-factor / 2, factor / 2]]).bfloat16()
    assert_close(gradient, expected, rtol=0, atol=0)


def test_several_batches_add_up():
    state = make_state(20)
    other = copy.deepcopy(state)
    for _ in range(3):
        logits, label = batch(20)
        fused_step(logits, label, None, 1.0, 0.5, state)
        plain_step(logits, label, None, 1.0, 0.5, other)
    assert state.correct_count.sum() > 30
    assert_close(tensors(state), tensors(other), **CLOSE)


def test_one_sample():
    logits, label = batch(20, n=2)
    assert_equals_plain(logits[1:], label[1:], None, 1.0, 0.3, make_state(20))


@ALL_FORMS
def test_of_equal_scores_the_first_leads(columns, background):
    """Also the background's may be as large: it takes no part."""
    state = make_state(columns, background)
    other = copy.deepcopy(state)
    logits = torch.randint(3, (300, columns)).float()
    label = torch.randint(columns, (300,))
    label[:150] = logits[:150, : state.num_classes].argmax(-1)
    for step, learner in ((fused_step, state), (plain_step, other)):
        step(logits, label, None, 1.0, 0.5, learner)
    assert_close(state.correct_count, other.correct_count, rtol=0, atol=0)
    assert_close(state.prob_sum, other.prob_sum, rtol=1e-5, atol=1e-5)
    assert state.num_classes == 1 or other.correct_count.sum() < other.sample_count.sum()


def test_probabilities_down_to_the_smallest_normal_number():
    """Each to within some roundings of itself, not of 1; what is smaller may be 0."""
    columns = 2000
    state = SoftLabels(columns)
    logits = torch.linspace(0, -120, columns)[None]
    fused_step(logits, torch.tensor([0]), None, 1.0, 0.5, state)
    expected = logits[0].double().softmax(-1)
    smallest = torch.finfo(torch.float32).tiny
    assert_close(state.prob_sum[0].double(), expected, rtol=5e-7, atol=2 * smallest)
    assert (expected > 10 * smallest).sum() > 1000


@pytest.mark.parametrize('columns', [5, 16, 17])
@pytest.mark.parametrize('value', [1e2, 1e30, 2e31, torch.finfo(torch.float32).max])
@pytest.mark.parametrize('sign', [1, -1])
@pytest.mark.parametrize('background', [False, True])
def test_a_huge_score(background, sign, value, columns):
    """A mask may be float32's lowest number instead of -inf."""
    state = make_state(columns, background)
    logits, label = torch.randn(4, columns), torch.tensor([0, 1, 2, 1])
    logits[:3, -1 if background else 1] = sign * value
    # In float32, too: losses like these overflow.
    assert_equals_plain(logits, label, None, 0.5, 0.3, state, dtype=torch.float32)


@pytest.mark.parametrize('columns', [5, 16, 20])
@pytest.mark.parametrize('offset', [1e4, -1e4, 1e30, 2e31, -2e31, torch.finfo(torch.float32).min])
def test_huge_scores(offset, columns):
    logits, label = torch.randn(4, columns) + offset, torch.tensor([0, 1, 2, 1])
    if abs(offset) > 1e37:
        logits = torch.full_like(logits, offset)
    assert_equals_plain(logits, label, None, 0.5, 0.3, make_state(columns))


@pytest.mark.parametrize('background', [False, True])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_rows_with_masked_classes_teach(dtype, background):
    """By the lowest number of their type; two of them add up to -inf."""
    logits, label = batch(17)
    label %= 10
    logits[range(24), label] += 9
    logits[:, 10:16] = torch.finfo(dtype).min
    state, other = make_state(17, background), make_state(17, background)
    other.load_state_dict(state.state_dict())
    fused_step(logits.to(dtype), label, None, 0.7, 0.0, state)
    plain_step(logits.to(dtype), label, None, 0.7, 0.0, other, torch.float32)
    assert state.correct_count.sum() == 24
    assert_close(tensors(state), tensors(other), **CLOSE)


def test_a_loss_that_overflows_is_infinite():
    """A training that diverges ends as with any other loss."""
    logits, label = torch.tensor([[3e38, 0.0], [0, 3e38]]), torch.tensor([1, 0])
    loss, gradient = fused_step(logits, label, None, 1.0, 1.0, make_state(2))
    assert_close(loss, torch.tensor(torch.inf))
    assert_close(gradient, torch.tensor([[1.0, -1], [-1, 1]]))


def test_tiny_scores():
    logits, label = 1e-42 * torch.randn(9, 20), torch.arange(9)
    assert logits.any()
    assert_equals_plain(logits, label, None, 1.0, 0.3, make_state(20))


@pytest.mark.parametrize('columns', [5, 17])
@pytest.mark.parametrize('background', [False, True])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('value', [torch.nan, torch.inf, -torch.inf])
def test_scores_that_are_not_finite(value, dtype, background, columns):
    """Such a row teaches nothing; masked by -inf it costs something where its target is not 0."""
    for start, alpha in [('uniform', 0.3), ('zeros', 0.3), ('zeros', 0.0)]:
        logits, label = batch(columns)
        logits = logits.to(dtype)
        for row, column in enumerate([0, 1, columns // 2, columns - 1]):
            logits[2 * row, column] = value
        logits[9, label[9]] = value
        logits[11] = value
        state = make_state(columns, background, start)
        other = copy.deepcopy(state)
        got = fused_step(logits, label, None, 0.7, alpha, state)
        expected = plain_step(logits, label, None, 0.7, alpha, other, torch.float32)
        close = dict(CLOSE, rtol=2**-7) if dtype == torch.bfloat16 else CLOSE
        assert_close(got[0], expected[0], equal_nan=True, **CLOSE)
        assert_close(got[1].float(), expected[1], equal_nan=True, **close)
        assert 0 < other.correct_count.sum() < 24
        assert_close(tensors(state), tensors(other), **CLOSE)


def test_a_masked_class_that_no_sample_is_meant_to_be_costs_nothing():
    state = make_state(5)
    state.soft_labels[:, 3] = 0
    logits, label = torch.randn(4, 5), torch.tensor([0, 1, 2, 4])
    logits[:, 3] = -torch.inf
    loss, gradient = fused_step(logits, label, None, 0.25, 0.3, state)
    expected, full = plain_step(logits, label, None, 0.25, 0.3, state)
    assert loss.isfinite()
    assert_close((loss, gradient), (expected, full), **CLOSE)


@pytest.mark.parametrize(
    'strided',
    [
        lambda t: t.repeat_interleave(2, -1)[..., ::2],
        lambda t: t.repeat_interleave(2, 0)[::2],
        lambda t: t.mT.contiguous().mT if t.dim() > 1 else t,
    ],
    ids=['columns', 'rows', 'transposed'],
)
def test_strides(strided):
    state = make_state(20)
    logits, label = batch(20)
    weight = torch.rand(24)
    same = copy.deepcopy(state)
    expected = fused_step(logits, label, weight, 1.0, 0.3, same)
    got = fused_step(strided(logits), strided(label), strided(weight), 1.0, 0.3, state)
    assert_close((got, tensors(state)), (expected, tensors(same)), rtol=0, atol=0)


def test_samples_count_where_there_are_millions_already():
    """float32 holds no 2^24 + 1: added one by one, none of these would count."""
    state = SoftLabels(3)
    state.sample_count.fill_(2**24)
    state.correct_count.fill_(2**24)
    state.prob_sum.fill_(2**23)
    logits, label = torch.tensor([[0.0, 1, 2]]).repeat(1000, 1), torch.full((1000,), 2)
    fused_step(logits, label, None, 1.0, 0.5, state)
    assert_close(state.sample_count, torch.tensor([2.0**24, 2**24, 2**24 + 1000]), rtol=0, atol=0)
    assert_close(state.correct_count, state.sample_count, rtol=0, atol=0)
    # One rounding to a whole number at most.
    assert_close(state.prob_sum[2] - 2**23, 1000 * logits[0].softmax(-1), rtol=0, atol=0.5)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('wrong', [-1, -100, 5, 2**62, -(2**62)])
def test_a_label_that_is_none_is_refused_and_changes_nothing(wrong, dtype):
    logits, label = batch(5)
    label[-1] = wrong
    state = make_state(5)
    before = tensors(state)
    scores = logits.to(dtype).requires_grad_()
    assert fused_cross_entropy(scores, label, None, 1.0, 0.3, state) is None
    assert_close(tensors(state), before, rtol=0, atol=0)


# --- threads -------------------------------------------------------------------------------------


@pytest.fixture
def threads(monkeypatch):
    """How many threads each call asked for."""
    asked, functions = [], compiled_library()

    def spy(function):
        def call(*args):
            asked.append(args[-1])
            return function(*args)

        return call

    watched = {dtype: spy(function) for dtype, function in functions.items()}
    monkeypatch.setattr(step_module, 'compiled_library', lambda: watched)
    before = torch.get_num_threads()
    yield asked
    torch.set_num_threads(before)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_more_threads_change_no_bit(dtype, threads, monkeypatch):
    monkeypatch.setattr(step_module, 'SCORES_PER_THREAD', 1)
    logits, label = torch.randn(2000, 20).to(dtype), torch.randint(20, (2000,))
    weight = torch.rand(2000)
    results = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        torch.manual_seed(7)
        state = make_state(20)
        step = fused_step(logits, label, weight, 1 / 2000, 0.3, state)
        results.append((step, tensors(state)))
    assert threads == [1, 2, 3]
    for result in results[1:]:
        assert_close(result, results[0], rtol=0, atol=0)


def test_a_small_batch_starts_no_thread(threads):
    torch.set_num_threads(3)
    fused_step(torch.randn(8, 5), torch.zeros(8, dtype=int), None, 1.0, 0.5, SoftLabels(5))
    assert threads == [1]


# --- autograd ------------------------------------------------------------------------------------


def loss_of(scores, label, state=None):
    return fused_cross_entropy(scores, label, None, 1.0, 0.3, state or SoftLabels(5))


@pytest.mark.parametrize('slope', [3.0, 2.0**16, -0.5, 0.0])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_gradient_follows_what_is_done_with_the_loss(dtype, slope):
    logits, label = batch(5)
    scores = logits.to(dtype).requires_grad_()
    (once,) = torch.autograd.grad(loss_of(scores, label), scores)
    (scaled,) = torch.autograd.grad(slope * loss_of(scores, label), scores)
    assert scaled.dtype == dtype
    assert_close(scaled, slope * once)


def test_gradients_of_several_uses_add_up():
    logits, label = batch(5)
    scores = logits.requires_grad_()
    (once,) = torch.autograd.grad(loss_of(scores, label), scores)
    loss = loss_of(scores, label) + scores.square().sum() + loss_of(scores, label)
    loss.backward()
    assert_close(scores.grad, 2 * once + 2 * logits)


@pytest.mark.parametrize('slope', [1.0, 3.0])
def test_going_back_twice_gives_the_same_gradient_twice(slope):
    logits, label = batch(5)
    scores = logits.requires_grad_()
    loss = slope * loss_of(scores, label)
    loss.backward(retain_graph=True)
    first, copied = scores.grad, scores.grad.clone()
    scores.grad = None
    first.mul_(100)  # as clipping does
    loss.backward(retain_graph=True)
    assert_close(scores.grad, copied, rtol=0, atol=0)
    loss.backward()  # onto the first one
    assert_close(scores.grad, 2 * copied, rtol=0, atol=0)
    with pytest.raises(RuntimeError, match='second time'):
        loss.backward()


def test_second_derivatives_are_refused():
    logits, label = batch(5)
    scores = logits.requires_grad_()
    with pytest.raises(RuntimeError, match=r"create_graph=True.* implementation='plain'"):
        torch.autograd.grad(loss_of(scores, label), scores, create_graph=True)


def test_the_layer_below_gets_its_gradient():
    layer, features = nn.Linear(8, 5), torch.randn(24, 8)
    label, state = torch.randint(5, (24,)), make_state(5)
    loss = fused_cross_entropy(layer(features), label, None, 1.0, 0.3, state)
    got = torch.autograd.grad(loss, list(layer.parameters()))
    target = mix_targets(label, state.soft_labels, 0.3, torch.ones(24, dtype=torch.bool))
    expected_loss = cross_entropy(layer(features), target).sum()
    assert_close(loss, expected_loss)
    assert_close(got, torch.autograd.grad(expected_loss, list(layer.parameters())))
