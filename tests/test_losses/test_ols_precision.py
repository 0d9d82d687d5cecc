"""OLSLoss computes in float32 whatever it is given."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from test_losses.steps import FORMS, C, tensors, with_random_soft_labels
from torch import nn
from torch.testing import assert_close

from mmdet_ols import OLSLoss


@FORMS
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('rows', [False, True])
def test_half_precision_scores(rows, dtype, use_sigmoid):
    criterion = with_random_soft_labels(OLSLoss(C, use_sigmoid=use_sigmoid))
    same_scores = copy.deepcopy(criterion)
    scores, label = 3 * torch.randn(64, C), torch.randint(C, (64,))
    label = F.one_hot(label, C).float() if rows else label
    half = scores.to(dtype).requires_grad_()
    loss = criterion(half, label)

    # Computed in float32: exactly the loss of the same scores as float32, and the same state.
    upcast = half.detach().float().requires_grad_()
    expected = same_scores(upcast, label)
    assert_close(loss, expected)
    assert_close(tensors(criterion), tensors(same_scores))
    (grad,) = torch.autograd.grad(loss, half)
    assert_close(grad, torch.autograd.grad(expected, upcast)[0].to(dtype))  # checks the dtype, too

    # Rounding moves a score by at most |z| eps / 2. The softmax loss's gradient, p - T, has an L1
    # norm of at most 2; each sigmoid term's is at most 1, and their mean is taken.
    rounding = scores.abs().max().item() * torch.finfo(dtype).eps / 2
    full = criterion.eval()(scores, label)
    assert_close(loss, full, rtol=0, atol=rounding * (1 if use_sigmoid else 2))


@FORMS
@pytest.mark.parametrize('rows', [False, True])
def test_autocast_changes_nothing_after_the_scores(rows, use_sigmoid):
    """Neither the loss nor the state is computed in bfloat16, whose soft labels would be coarse."""
    plain = with_random_soft_labels(OLSLoss(C, use_sigmoid=use_sigmoid))
    autocast = copy.deepcopy(plain)
    model, x = nn.Linear(8, C), torch.randn(32, 8)
    label = torch.randint(C, (32,))
    if rows:
        label = 0.9 * F.one_hot(label, C) + 0.1 * F.one_hot(label.flip(0), C)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        scores = model(x)
        loss = autocast(scores, label)
    assert scores.dtype == torch.bfloat16
    assert_close(loss, plain(scores.float(), label))
    assert_close(tensors(autocast), tensors(plain))


def test_gradient_accumulation_gives_the_state_of_the_whole_batch():
    scores, label = torch.randn(32, C), torch.randint(C, (32,))
    whole, halves = OLSLoss(C), OLSLoss(C)
    loss = whole(scores, label)
    mean_of_halves = sum(halves(scores[part], label[part]) for part in (slice(16), slice(16, 32)))
    assert_close(mean_of_halves / 2, loss)
    whole.update_soft_labels()
    halves.update_soft_labels()
    assert_close(tensors(halves), tensors(whole))
