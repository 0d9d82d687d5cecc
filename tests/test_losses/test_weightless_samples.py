"""Samples that weigh nothing may be left out, which makes no difference."""

from __future__ import annotations

import functools
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from test_losses.steps import C, N, batch, step, tensors, twins
from torch.testing import assert_close

from mmdet_ols import (
    BootstrapLoss,
    LSLoss,
    OLSLoss,
    PairwiseConfusionLoss,
    SCELoss,
    TfKDRegLoss,
)
from mmdet_ols.losses import classification_loss


@pytest.fixture
def kept(monkeypatch):
    """A function that computes a step with all rows, as a GPU does."""

    def keep(*args, **kwargs):
        with mock.patch.object(classification_loss, 'may_select', lambda tensor: False):
            return step(*args, **kwargs)

    return keep


@pytest.mark.parametrize(
    ('options', 'call'),
    [
        ({}, {}),
        (dict(reduction='sum'), {}),
        ({}, dict(avg_factor=7.5)),
        (dict(avg_non_ignore=True), {}),
        (dict(avg_non_ignore=True), dict(avg_factor=7.5)),
        (dict(reduction='none'), dict(reduction_override='mean')),
        (dict(class_weight=[1.0, 2, 3, 4, 5]), {}),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    'form', ['softmax', 'sigmoid', 'sigmoid, each score', 'focal', 'quality focal', 'rows']
)
def test_rows_of_weight_0_make_no_difference(form, options, call, kept):
    options = dict(options, use_sigmoid=form not in ('softmax', 'rows'))
    if form == 'focal':
        options.update(gamma=2.0, balance=0.25)
    if form == 'quality focal':
        options.update(quality_beta=2.0)
    criterion, every_row = twins('plain', **options)
    scores, label = batch()
    if form == 'rows':
        label = F.one_hot(label, C) * torch.rand(N, 1)
    else:
        label[::5] = -100
    for share in (0.3, 1.0, 0.0):
        weight = torch.rand(N, 1) * (torch.rand(N, 1) < share)
        if form == 'sigmoid, each score':
            weight = weight * torch.rand(N, C) * (torch.rand(N, C) < 0.5)
        expected = kept(every_row, scores, label, weight, **call)

        loss, gradient = step(criterion, scores, label, weight, **call)

        assert_close((loss, gradient), expected)
        nothing = weight.sum(1) == 0
        assert_close(gradient[nothing], torch.zeros(int(nothing.sum()), C), rtol=0, atol=0)
        assert_close(tensors(criterion), tensors(every_row))
    assert criterion.sample_count.sum() > 0


@pytest.mark.parametrize(
    'make',
    [
        LSLoss,
        SCELoss,
        functools.partial(BootstrapLoss, mode='hard'),
        TfKDRegLoss,
        PairwiseConfusionLoss,
        functools.partial(PairwiseConfusionLoss, form='released'),
        functools.partial(PairwiseConfusionLoss, form='paper'),
    ],
    ids=lambda make: str(
        getattr(make, 'keywords', make.__name__ if hasattr(make, '__name__') else '')
    ),
)
def test_rows_of_weight_0_make_no_difference_to_other_methods(make, kept):
    criterion = make(C)
    scores, label = batch()
    weight = torch.rand(N) * (torch.rand(N) < 0.6)
    assert_close(step(criterion, scores, label, weight), kept(criterion, scores, label, weight))


def test_the_others_are_not_computed(kept):
    """What this is for: of a YOLO head's anchors, one in a hundred counts."""
    computed = []

    class Watched(LSLoss):
        def make_target(self, samples):
            computed.append(len(samples.logits))
            return super().make_target(samples)

    scores, label = batch()
    weight = torch.zeros(N)
    weight[[3, 8]] = 1
    step(Watched(C), scores, label, weight)
    step(Watched(C, reduction='sum'), scores, label, weight)
    step(Watched(C), scores, label, weight, avg_factor=3.0)
    kept(Watched(C), scores, label, weight)
    assert computed == [2, 2, 2, N]


@pytest.mark.parametrize('make', [LSLoss, OLSLoss])
def test_a_weight_of_0_that_is_learned_is_told_what_its_sample_costs(make):
    """As the first weights of "Learning to Reweight Examples" are."""
    scores, label = batch()
    weight = torch.zeros(N, requires_grad=True)
    loss = make(C, reduction='sum')(scores.requires_grad_(), label, weight)
    cost = make(C, reduction='none')(scores, label).detach()
    assert_close(torch.autograd.grad(loss, weight)[0], cost)
