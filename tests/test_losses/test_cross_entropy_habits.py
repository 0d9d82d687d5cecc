"""What people bring along from `nn.CrossEntropyLoss`: right as it is, or an error with the remedy.

At alpha=1 the loss is a cross entropy, so that PyTorch's own says what is right.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_losses.steps import C
from torch import nn
from torch.testing import assert_close

from mmdet_ols import LSLoss, OLSLoss, OLSSparseLoss, TfKDRegLoss

WEIGHT = torch.tensor([0.1, 1.0, 2.5, 0.3, 1.7])


def batch(n=12):
    label = torch.randint(C, (n,))
    return (2 * F.one_hot(label, C) + torch.randn(n, C)).requires_grad_(), label


def gradient_of(loss, scores):
    return torch.autograd.grad(loss.sum(), scores)[0]


@pytest.mark.parametrize('implementation', ['plain', 'auto'])
@pytest.mark.parametrize('dtype', [torch.int32, torch.uint8, torch.int16, torch.int64])
def test_integers_of_every_kind_are_labels(dtype, implementation):
    scores, label = batch()
    loss = OLSLoss(C, alpha=1, implementation=implementation)(scores, label.to(dtype))
    expected = F.cross_entropy(scores, label)
    assert_close(loss, expected)
    assert_close(gradient_of(loss, scores), gradient_of(expected, scores))


@pytest.mark.parametrize('dtype', [torch.uint8, torch.int64])
def test_an_ignore_index_above_the_classes(dtype):
    scores, label = batch()
    label[::3] = 255
    criterion = OLSLoss(C, alpha=1, ignore_index=255, avg_non_ignore=True)
    expected = F.cross_entropy(scores, label, ignore_index=255)
    assert_close(criterion(scores, label.to(dtype)), expected)
    assert criterion.sample_count.sum() == 8


@pytest.mark.parametrize('ignored', [0, 1, C - 1])
def test_a_class_cannot_be_ignored_in_rows(ignored):
    """PyTorch refuses it as well. A share of 1 would be taken for the class 1."""
    scores, label = batch()
    rows = F.one_hot(label, C).float()
    for criterion in (OLSLoss(C, ignore_index=ignored), LSLoss(C, ignore_index=ignored)):
        with pytest.raises(ValueError, match=f'names the class {ignored}, but .*rows of zeros'):
            criterion(scores, rows)
    with pytest.raises(ValueError, match='`ignore_index` names the class'):
        OLSLoss(C)(scores, rows, ignore_index=ignored)
    rows[3] = 0
    loss = OLSLoss(C, alpha=1, ignore_index=255, reduction='none')(scores, rows)
    expected = F.cross_entropy(scores, label, reduction='none')
    expected[3] = 0
    assert_close(loss, expected)


def test_no_reduction():
    scores, label = batch()
    loss = OLSLoss(C, alpha=1, reduction='none')(scores, label)
    assert_close(loss, F.cross_entropy(scores, label, reduction='none'))


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bfloat16])
def test_soft_targets(dtype):
    """Such as mixup's, whose halves round to a sum that is not quite 1 in bfloat16."""
    scores, label = batch(64)
    share = torch.rand(64, 1)
    rows = share * F.one_hot(label, C) + (1 - share) * F.one_hot(label.flip(0), C)
    rows = rows.to(dtype)
    loss = OLSLoss(C, alpha=1)(scores, rows)
    assert_close(loss, F.cross_entropy(scores, rows.float()))


@pytest.mark.parametrize('kind', [torch.int64, torch.bool])
def test_one_hot_rows_of_integers(kind):
    scores, label = batch()
    loss = OLSLoss(C, alpha=1)(scores, F.one_hot(label, C).to(kind))
    assert_close(loss, F.cross_entropy(scores, label))


def test_a_single_sample_without_a_batch():
    scores, label = batch(1)
    loss = OLSLoss(C, alpha=1)(scores[0], label[0])
    assert_close(loss, F.cross_entropy(scores[0], label[0]))


def test_class_weights_as_a_tensor_an_array_or_a_list():
    scores, label = batch()
    expected = F.cross_entropy(scores, label, WEIGHT, reduction='none')
    for weight in (WEIGHT, WEIGHT.double(), WEIGHT.numpy(), WEIGHT.tolist()):
        criterion = OLSLoss(C, alpha=1, class_weight=weight, reduction='none')
        assert_close(criterion(scores, label), expected)


def test_class_weights_are_a_copy():
    """Neither a later change nor a gradient of the given tensor is meant."""
    scores, label = batch()
    weight = WEIGHT.clone().requires_grad_()
    criterion = OLSLoss(C, alpha=1, class_weight=weight)
    before = criterion(scores, label)
    with torch.no_grad():
        weight.zero_()
    assert_close(criterion(scores, label), before)
    before.backward()
    assert weight.grad is None


@pytest.mark.parametrize('convert', ['half', 'bfloat16', 'double'])
def test_class_weights_keep_their_precision_in_a_converted_model(convert):
    scores, label = batch()
    plain, converted = (OLSLoss(C, class_weight=WEIGHT) for _ in range(2))
    getattr(converted, convert)()
    assert_close(converted(scores, label), plain(scores, label), rtol=0, atol=0)


@pytest.mark.parametrize('number', [np.int64(C), torch.tensor(C)])
def test_the_number_of_classes_from_numpy_or_a_tensor(number):
    criterion = OLSLoss(number)
    assert criterion.num_classes == criterion.state.num_classes == C
    assert type(criterion.num_classes) is type(criterion.state.num_classes) is int


@pytest.mark.parametrize('cls', [OLSLoss, OLSSparseLoss, LSLoss, TfKDRegLoss])
@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(weight=WEIGHT), "no option 'weight': the weights of the classes are `class_weight`"),
        (dict(label_smoothing=0.1), r"no option 'label_smoothing': .*LSLoss\(epsilon="),
        (dict(size_average=True), "no option 'size_average': write reduction="),
        (dict(reduce=False), "no option 'reduce': write reduction="),
        (dict(use_soft=True), "no option 'use_soft': rows"),
    ],
)
def test_an_option_of_another_loss_is_answered_with_ours(cls, options, message):
    with pytest.raises(TypeError, match=f'{cls.__name__} has {message}'):
        cls(C, **options)


def test_a_subclass_may_have_such_an_option():
    class Weighted(OLSLoss):
        def __init__(self, num_classes, weight):
            super().__init__(num_classes, class_weight=weight)

    assert_close(Weighted(C, weight=WEIGHT).column_weight, WEIGHT)
    with pytest.raises(TypeError, match="no option 'label_smoothing'"):
        Weighted(C, WEIGHT, label_smoothing=0.1)


def test_positions_of_another_order_are_refused():
    with pytest.raises(ValueError, match=r'`num_classes` must be a positive integer.*0\.1'):
        OLSLoss(WEIGHT)  # the first argument of nn.CrossEntropyLoss
    with pytest.raises(ValueError, match=r'`alpha`, .* must be in \[0, 1\], but got None'):
        OLSLoss(C, None)
    with pytest.raises(ValueError, match=r'`alpha`, .* must be in \[0, 1\], but got tensor'):
        OLSLoss(C, WEIGHT)


@pytest.mark.parametrize(
    ('scores', 'label', 'message'),
    [
        ((2, C, 7), (2, 7), r'second dimension, to the end, cls_score.movedim\(1, -1\)'),
        ((2, C, 7, 4), (2, 7, 4), r'to the end, cls_score.movedim\(1, -1\)'),
        ((2, C, 7, C), (2, 7, C), r'move the classes to the end, cls_score.movedim\(1, -1\)'),
        ((4, C), (4, 1), r'squeeze its last dimension, label.squeeze\(-1\)'),
    ],
)
def test_another_layout_is_refused_with_the_remedy(scores, label, message):
    with pytest.raises(ValueError, match=message):
        OLSLoss(C)(torch.zeros(scores), torch.zeros(label, dtype=int))


def test_the_remedy_for_dense_scores_works():
    scores, label = torch.randn(2, C, 3, 4), torch.randint(C, (2, 3, 4))
    loss = OLSLoss(C, alpha=1)(scores.movedim(1, -1), label)
    assert_close(loss, F.cross_entropy(scores, label))


def test_labels_as_floats_are_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r'must be integers.*pass label.long\(\)'):
        OLSLoss(C)(torch.zeros(2, C), torch.tensor([0.0, 1.0]))


@pytest.mark.parametrize('make', [OLSLoss, lambda c: OLSSparseLoss(c, top_m=2)])
def test_a_loss_on_another_device_is_named(make):
    scores = torch.zeros(2, C, device='meta')
    label = torch.zeros(2, dtype=int, device='meta')
    with pytest.raises(ValueError, match=r"soft labels of OLS.* on cpu: move the loss .*\('meta'"):
        make(C)(scores, label)
    with pytest.raises(ValueError, match=r"`label` on cpu: move it there, label.to\('meta'\)"):
        make(C)(scores, label.new_zeros(2, device='cpu'))


def test_class_weights_in_a_call_are_refused():
    """As the third argument of `F.cross_entropy`."""
    with pytest.raises(ValueError, match='weights of the classes are `class_weight` of the con'):
        OLSLoss(C)(torch.zeros(2, C), torch.tensor([0, 1]), WEIGHT)


@pytest.mark.parametrize(
    ('scores', 'label', 'message'),
    [
        ((torch.zeros(2, C),) * 2, torch.tensor([0, 1]), r'`cls_score` must .* got a tuple: pass'),
        (torch.zeros(2, C), [0, 1], r'`label` must be a tensor, but got a list: .*as_tensor\('),
        (torch.zeros(2, C), np.array([0, 1]), r'but got a ndarray: pass torch.as_tensor\(label'),
    ],
)
def test_what_is_no_tensor_is_refused_with_the_remedy(scores, label, message):
    with pytest.raises(TypeError, match=message):
        OLSLoss(C)(scores, label)


def test_weights_of_samples_that_are_no_tensor_are_refused_with_the_remedy():
    scores, label = batch()
    for weight in ([1.0] * len(label), np.ones(len(label)), 1.0):
        with pytest.raises(TypeError, match=r'`weight` must be a tensor, .*as_tensor\(weight'):
            OLSLoss(C)(scores, label, weight)


def test_bad_class_weights_are_refused():
    for weight in (torch.tensor(2.0), WEIGHT[:, None], WEIGHT[None]):
        with pytest.raises(ValueError, match='`class_weight` must hold a weight for each column'):
            OLSLoss(C, class_weight=weight)
    for wrong in (-1.0, float('nan'), float('inf')):
        with pytest.raises(ValueError, match='`class_weight` must hold finite weights of at least'):
            OLSLoss(C, class_weight=[1.0, wrong, 1.0, 1.0, 1.0])


@pytest.mark.parametrize('implementation', ['plain', 'auto'])
def test_scores_that_are_spread_over_processes_are_refused(implementation):
    class DTensor(torch.Tensor):
        def full_tensor(self): ...

    scores = torch.zeros(2, C).as_subclass(DTensor).requires_grad_()
    with pytest.raises(ValueError, match=r'is a DTensor, .* pass to_local\(\)'):
        OLSLoss(C, implementation=implementation)(scores, torch.tensor([0, 1]))


@pytest.mark.parametrize('cls', [OLSLoss, LSLoss])
def test_probabilities_in_place_of_logits_are_a_warning_at_the_first_step(cls):
    scores, label = batch()
    criterion = cls(C)
    with pytest.warns(UserWarning, match='sums to 1, as after a softmax.*pass the logits') as said:
        for _ in range(2):
            criterion(scores.softmax(1), label)
    assert len(said) == 1
    assert said[0].filename == nn.modules.module.__file__  # who called the loss


def test_what_is_no_probability_is_no_alarm():
    scores, label = batch()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        OLSLoss(C)(scores.log_softmax(1), label)  # whose softmax is the same again
        OLSLoss(C)(scores.sigmoid(), label)
        OLSLoss(C, use_sigmoid=True)(scores.softmax(1), label)
        OLSLoss(1)(torch.ones(4, 1), torch.zeros(4, dtype=int))
        OLSLoss(C)(torch.zeros(0, C), torch.zeros(0, dtype=int))
        OLSLoss(C).eval()(scores.detach().softmax(1), label)


def test_scores_and_labels_in_swapped_order():
    scores, label = batch()
    with pytest.raises(ValueError, match=r'must hold logits, but is torch\.int64: .* first'):
        OLSLoss(C)(label, scores)
