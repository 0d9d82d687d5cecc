"""The fused form of OLSLoss is the plain one, and taken where it can be."""

from __future__ import annotations

import copy
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from test_losses.steps import C, N, assert_like_plain, batch, step, tensors, twins
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing import assert_close
from torch_releases import needs_whole_graphs

from mmdet_ols import (
    OLSLoss,
    OLSSingleLoss,
)
from mmdet_ols.core import (
    SoftLabels,
)

# --- the fused form ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('options', 'call'),
    [
        ({}, {}),
        (dict(alpha=0.0, start='zeros'), {}),
        (dict(alpha=1.0, loss_weight=2.5), {}),
        (dict(loss_weight=0.0), {}),
        (dict(background=True), {}),
        (dict(num_classes=16, background=True), dict(avg_factor=3)),
        (dict(num_classes=1), {}),
        (dict(num_classes=1, background=True), {}),
        (dict(reduction='sum', loss_weight=0.3), {}),
        (dict(reduction='sum'), dict(reduction_override='mean', avg_factor=7)),
        (dict(reduction='none'), dict(reduction_override='mean')),
        ({}, dict(reduction_override='sum')),
        (dict(loss_weight=2.0), dict(avg_factor=7.5)),
        ({}, dict(avg_factor=torch.tensor(7.5))),
        ({}, dict(avg_factor=torch.tensor(7))),
        ({}, dict(avg_factor=0.0)),
        (dict(avg_non_ignore=True), {}),
        (dict(ignore_index=255), {}),
        (dict(ignore_index=2), dict(ignore_index=-1)),
    ],
    ids=str,
)
@pytest.mark.parametrize('weigh', ['none', 'some', 'column', 'zero'])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_fused_equals_plain(dtype, weigh, options, call, fused):
    criterion, plain = twins('fused', **options)
    scores, label = batch(criterion.num_columns)
    scores = scores.to(dtype)
    weight = torch.rand(N) * (torch.rand(N) < 0.6)
    weight = dict(none=None, some=weight, column=weight[:, None], zero=0 * weight)[weigh]
    assert_like_plain(criterion, plain, scores, label, weight, **call)
    assert len(fused) == 1
    assert (criterion.correct_count.sum() > 0) == (weigh != 'zero')


@pytest.mark.parametrize('dtype', [torch.uint8, torch.int16, torch.int32])
def test_fused_takes_labels_of_any_integers(dtype, fused):
    criterion, plain = twins('fused')
    scores, label = batch()
    assert_close(step(criterion, scores, label.to(dtype)), step(plain, scores, label))
    assert len(fused) == 1
    assert_close(tensors(criterion), tensors(plain))


def test_fused_takes_any_leading_shape_and_strides(fused):
    criterion, plain = twins('fused')
    scores, label = batch()
    weight = torch.rand(N)
    expected = step(plain, scores, label, weight)
    scores = scores.reshape(2, 3, 4, C).permute(2, 0, 3, 1).contiguous().permute(1, 3, 0, 2)
    got = step(criterion, scores, label.view(2, 3, 4), weight.view(2, 3, 4, 1))
    assert len(fused) == 1
    assert not scores.is_contiguous()
    assert_close((got[0], got[1].reshape(N, C)), expected)
    assert_close(tensors(criterion), tensors(plain))


@pytest.mark.parametrize('value', [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize('implementation', ['plain', 'fused'])
def test_a_row_of_weight_0_may_hold_anything(implementation, value):
    """Padded anchors may. Its gradient is 0, and the others' is what it would be without it."""
    criterion, without = twins(implementation)
    scores, label = batch()
    weight = torch.rand(N)
    weight[3] = 0
    others = torch.arange(N) != 3
    expected = step(without, scores[others], label[others], weight[others], avg_factor=N)
    scores[3] = value
    loss, gradient = step(criterion, scores, label, weight)
    assert_close(loss, expected[0])
    assert_close(gradient[others], expected[1])
    assert_close(gradient[3], torch.zeros(C), rtol=0, atol=0)
    assert_close(tensors(criterion), tensors(without))


# --- when it is taken ----------------------------------------------------------------------------


class Call:
    """One that the fused form takes, before it is changed."""

    def __init__(self, **options):
        self.criterion = twins('auto', **options)[0]
        scores, self.label = batch(self.criterion.num_columns)
        self.scores = scores.requires_grad_()
        self.kwargs = {}

    def __call__(self):
        return self.criterion(self.scores, self.label, **self.kwargs)


def evaluation(call):
    call.criterion.eval()


def no_gradient(call):
    call.scores = call.scores.detach()


def rows(call):
    call.label = F.one_hot(call.label, C).float()


def float64(call):
    call.scores = call.scores.detach().double().requires_grad_()


def float16(call):
    call.scores = call.scores.detach().half().requires_grad_()


def ignored(call):
    call.label[3] = -100


def ignored_255(call):
    call.label[3] = 255
    call.kwargs['ignore_index'] = 255


def ignored_class(call):
    call.kwargs['ignore_index'] = 2


def no_reduction(call):
    call.kwargs['reduction_override'] = 'none'


def empty(call):
    call.scores, call.label = call.scores[:0], call.label[:0]


def learned_weight(call):
    call.kwargs['weight'] = torch.rand(N, requires_grad=True)


def learned_avg_factor(call):
    call.kwargs['avg_factor'] = torch.tensor(7.5, requires_grad=True)


def double_soft_labels(call):
    call.criterion.state.soft_labels = call.criterion.soft_labels.double()


def transposed_soft_labels(call):
    call.criterion.state.soft_labels = call.criterion.soft_labels.T


def asked_for_plain(call):
    call.criterion.implementation = 'plain'


@pytest.mark.parametrize(
    ('options', 'change'),
    [
        *[({}, change) for change in (evaluation, no_gradient, rows, float64, float16, ignored)],
        *[({}, change) for change in (ignored_255, ignored_class, no_reduction, empty)],
        *[({}, change) for change in (learned_weight, learned_avg_factor, asked_for_plain)],
        *[({}, change) for change in (double_soft_labels, transposed_soft_labels)],
        (dict(use_sigmoid=True), lambda call: None),
        (dict(class_weight=[1.0, 2, 3, 4, 5]), lambda call: None),
        (dict(ignore_index=2), lambda call: None),
        (dict(reduction='none'), lambda call: None),
    ],
    ids=lambda value: getattr(value, '__name__', str(value)),
)
def test_another_call_is_computed_plainly(options, change, fused):
    call = Call(**options)
    untouched = copy.deepcopy(call.criterion)
    call()
    taken = not options
    assert len(fused) == taken  # as it is, it is one, but for the options
    call.criterion = untouched
    change(call)
    plain = copy.deepcopy(call.criterion)
    plain.implementation = 'plain'
    loss = call()
    assert len(fused) == taken
    assert_close(loss, plain(call.scores, call.label, **call.kwargs))
    assert_close(tensors(call.criterion), tensors(plain))


def test_without_a_graph_nothing_is_fused(fused):
    call = Call()
    with torch.no_grad():
        call()
    assert not fused
    assert call.criterion.sample_count.sum() == 0
    call()
    assert len(fused) == 1


@pytest.mark.parametrize('wrong', [C, -1, 1000, -101])
@pytest.mark.parametrize('implementation', ['auto', 'fused'])
def test_wrong_labels_are_refused_before_they_are_used(implementation, wrong, fused):
    call = Call()
    call.criterion.implementation = implementation
    call.label[7] = wrong
    with pytest.raises(ValueError, match=rf'label must be in \[0, 4\].* Got the label {wrong}'):
        call()
    assert not fused
    assert call.criterion.sample_count.sum() == 0


def test_a_sum_with_an_avg_factor_is_refused(fused):
    call = Call(reduction='sum')
    call.kwargs['avg_factor'] = 7.0
    with pytest.raises(ValueError, match="`avg_factor` cannot be used with reduction 'sum'"):
        call()
    assert not fused


def test_learned_weights_get_their_gradient():
    call = Call()
    learned_weight(call)
    weight = call.kwargs['weight']
    (gradient,) = torch.autograd.grad(call(), weight)
    losses = call.criterion(call.scores, call.label, reduction_override='none')
    assert_close(gradient, losses / N)


def test_a_method_that_derives_from_it_keeps_its_own_ways(fused):
    class Quiet(OLSLoss):
        def learn(self, samples):
            pass

    quiet = Quiet(C)
    for criterion in (quiet, OLSSingleLoss(C)):
        step(criterion, *batch())
    assert not fused
    assert quiet.sample_count.sum() == 0
    with pytest.raises(ValueError, match='Quiet has no fused form'):
        Quiet(C, implementation='fused')


@pytest.mark.parametrize(
    'name',
    ['make_target', 'total_loss', 'learn', 'learn of a mixin', 'accumulate', 'collecting']
    + ['accumulate of a mixin'],
)
def test_a_class_that_does_a_part_in_its_own_way_is_asked_for_it(name, fused):
    """Of the loss or of its state."""
    name, *mixin = name.split(' of a ')
    kind = OLSLoss if hasattr(OLSLoss, name) else SoftLabels
    calls, old = [], getattr(kind, name)

    def own(*args):
        calls.append(args)
        return old(*args)

    bases = (type('Mixin', (), {name: own}), kind) if mixin else (kind,)
    changed = type('Changed', bases, {} if mixin else {name: own})
    further = type('Further', (changed,), {})
    criterion = further(C) if kind is OLSLoss else OLSLoss(C, state=further(C))
    step(criterion, *batch())
    assert len(calls) == 1
    assert not fused
    if kind is SoftLabels:
        with pytest.raises(ValueError, match="Further changes a part of the step .*='fused'"):
            OLSLoss(C, state=further(C), implementation='fused')


def test_a_class_with_other_defaults_alone_is_fused(fused):
    class Harder(OLSLoss):
        def __init__(self, num_classes, alpha=0.9):
            super().__init__(num_classes, alpha)

    scores, label = batch()
    assert_close(
        step(Harder(C), scores, label), step(OLSLoss(C, 0.9, implementation='plain'), scores, label)
    )
    assert len(fused) == 1


@needs_whole_graphs
def test_nothing_is_fused_in_a_graph_of_the_users_own(fused):
    torch._dynamo.reset()
    call = Call()
    plain = copy.deepcopy(call.criterion)
    plain.implementation = 'plain'
    expected = plain(call.scores, call.label)
    call.criterion = torch.compile(call.criterion, backend='eager', fullgraph=True)
    assert_close(call(), expected)
    assert not fused


def test_fake_tensors_are_not_fused(fused):
    """They have no numbers: a pointer to them is none."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        call = Call()
        with mock.patch('mmdet_ols.losses.classification_loss.check_labels'):
            call()
    assert not fused
