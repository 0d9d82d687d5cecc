"""BootstrapLoss: labels that the prediction may correct."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from test_losses.harness import (
    C,
    LossContract,
    Method,
    N,
    assert_equals_loop,
    cross_entropy,
    probabilities,
)

from mmdet_ols import BootstrapLoss


def bootstrap_loop(scores, rows, sigmoid, beta, mode, detach=False):
    losses = []
    for z, row in zip(scores, rows):
        p = probabilities(z, sigmoid)
        own = [p_k.detach() for p_k in p] if detach else p
        if mode == 'hard' and sigmoid:
            own = [1.0 if p_k > 0.5 else 0.0 for p_k in p]
        elif mode == 'hard':
            own = [
                1.0 if k == max(range(len(p)), key=lambda k: p[k]) else 0.0 for k in range(len(p))
            ]
        if not sigmoid:
            own = [sum(row) * share for share in own]
        target = [beta * q + (1 - beta) * share for q, share in zip(row, own)]
        losses.append(cross_entropy(p, target, sigmoid))
    return losses


class TestBootstrapLoss(LossContract):
    methods = {
        'soft bootstrapping': Method(
            partial(BootstrapLoss, C), partial(bootstrap_loop, beta=0.95, mode='soft')
        ),
        'soft bootstrapping, detached': Method(
            partial(BootstrapLoss, C, beta=0.6, detach_target=True),
            partial(bootstrap_loop, beta=0.6, mode='soft', detach=True),
        ),
        'hard bootstrapping': Method(
            partial(BootstrapLoss, C, 'hard'), partial(bootstrap_loop, beta=0.8, mode='hard')
        ),
    }
    neutral = {
        'soft': partial(BootstrapLoss, C, 'soft', 1.0),
        'hard': partial(BootstrapLoss, C, 'hard', 1.0),
    }


def test_soft_bootstrapping_is_entropy_minimisation():
    scores, label = torch.randn(N, C, requires_grad=True), torch.randint(C, (N,))
    loss = BootstrapLoss(C, beta=0.7, reduction='none')(scores, label)
    entropy = torch.distributions.Categorical(logits=scores).entropy()
    expected = 0.7 * F.cross_entropy(scores, label, reduction='none') + 0.3 * entropy
    assert_equals_loop(loss, expected.unbind(), scores)


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (partial(BootstrapLoss, C, 'medium'), r"`mode` must be one of .*'soft'.* got 'medium'"),
        (partial(BootstrapLoss, C, beta=1.1), r'`beta`.*must be in \[0, 1\], but got 1.1'),
        (partial(BootstrapLoss, C, beta=-1), r'`beta`.*must be in \[0, 1\], but got -1'),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
