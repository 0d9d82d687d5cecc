"""Steps of `OLSLoss`, and the state after them."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from reference import Reference
from torch.testing import assert_close

from mmdet_ols import OLSLoss
from mmdet_ols.core import SUMS

N, C = 24, 5
STATE = ('soft_labels', *SUMS)
FORMS = pytest.mark.parametrize('use_sigmoid', [False, True])


def tensors(criterion):
    return {name: getattr(criterion, name).clone() for name in STATE}


def with_random_soft_labels(criterion):
    """As after an epoch. Not symmetric, so that swapped rows and columns show."""
    rows = criterion.soft_labels[: criterion.num_classes]
    rows.copy_(torch.rand_like(rows).softmax(-1))
    return criterion


def reference_of(criterion, **kwargs):
    reference = Reference(
        criterion.num_classes,
        alpha=criterion.alpha,
        use_sigmoid=criterion.use_sigmoid,
        background=criterion.background,
        **kwargs,
    )
    reference.soft_labels = criterion.soft_labels.tolist()
    return reference


def batch(columns=C, n=N):
    """About half of the samples are right."""
    scores, label = torch.randn(n, columns), torch.randint(columns, (n,))
    scores[1::2].scatter_add_(1, label[1::2, None], torch.full((n // 2, 1), 4.0))
    return scores, label


def twins(implementation, **options):
    """Two losses of one state, as after an epoch; the second one is the plain form."""
    criterion = OLSLoss(**{'num_classes': C, **options}, implementation=implementation)
    rows = criterion.soft_labels[: criterion.num_classes]
    rows.copy_((2 * torch.randn_like(rows)).softmax(-1))
    plain = copy.deepcopy(criterion)
    plain.implementation = 'plain'
    return criterion, plain


def step(criterion, scores, *args, **kwargs):
    """Loss and gradient."""
    scores = scores.detach().requires_grad_()
    loss = criterion(scores, *args, **kwargs)
    return loss.detach(), torch.autograd.grad(loss, scores)[0]


def assert_like_plain(criterion, plain, scores, label, weight, **call):
    """A step of twins costs the same, goes back the same and teaches the same."""
    expected = step(plain, scores, label, weight, **call)
    # A difference of numbers below 1, times as much as an `avg_factor` of 0 makes of it.
    scale = 2**23 if call.get('avg_factor') == 0 else 1
    assert_close(
        [x / scale for x in step(criterion, scores, label, weight, **call)],
        [x / scale for x in expected],
    )
    assert_close(tensors(criterion), tensors(plain))


def recorded_warnings(function):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        function()
    return [str(warning.message) for warning in caught]
