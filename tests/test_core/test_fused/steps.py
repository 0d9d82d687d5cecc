"""A fused step, and the same by the plain operations."""

from __future__ import annotations

import copy

import torch
from torch.testing import assert_close

from mmdet_ols.core import SUMS, SoftLabels, cross_entropy, fused_cross_entropy, mix_targets

#: Some roundings of float32 numbers around 1 (gradients, probabilities) and 10 (losses).
CLOSE = dict(rtol=2e-6, atol=1e-6)


def tensors(state):
    return {name: getattr(state, name).clone() for name in ('soft_labels', *SUMS)}


def make_state(columns, background=False, start=None):
    """As after an epoch, unless a start is named. Not symmetric: swapped rows would show."""
    state = SoftLabels(columns - background, background, start or 'uniform')
    if start is None:
        rows = state.soft_labels[: state.num_classes]
        rows.copy_((2 * torch.randn_like(rows)).softmax(-1))
    return state


def batch(columns, n=24):
    """Few classes, several times each; about half of the samples are right."""
    label = torch.randint(columns, (6,))[torch.randint(6, (n,))]
    label[0] = columns - 1
    logits = 2 * torch.randn(n, columns)
    logits[1::2].scatter_add_(1, label[1::2, None], torch.full((n // 2, 1), 7.0))
    return logits, label


def fused_step(logits, label, weight, factor, alpha, state):
    """Loss and gradient; `state` learns."""
    scores = logits.detach().requires_grad_()
    loss = fused_cross_entropy(scores, label, weight, factor, alpha, state)
    return loss.detach(), torch.autograd.grad(loss, scores)[0]


def plain_step(logits, label, weight, factor, alpha, state, dtype=torch.float64):
    """The same by the operations that it replaces."""
    scores = logits.detach().to(dtype).requires_grad_()
    valid = torch.ones_like(label, dtype=torch.bool)
    weight = valid.float() if weight is None else weight
    losses = cross_entropy(scores, mix_targets(label, state.soft_labels.to(dtype), alpha, valid))
    loss = factor * (weight * losses).sum()
    teaches = (label < state.num_classes) & (weight != 0)
    state.accumulate(scores, scores.softmax(-1), label, teaches)
    return loss.detach().float(), torch.autograd.grad(loss, scores)[0].float()


def assert_equals_plain(logits, label, weight, factor, alpha, state, **close):
    other = copy.deepcopy(state)
    dtype = close.pop('dtype', torch.float64)
    got = fused_step(logits, label, weight, factor, alpha, state)
    expected = plain_step(logits, label, weight, factor, alpha, other, dtype)
    assert_close(got, expected, **(close or CLOSE))
    assert_close(tensors(state), tensors(other), **(close or CLOSE))
