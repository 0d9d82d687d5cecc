"""SCELoss: the cross entropy and its reverse."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from test_losses.harness import C, LossContract, Method, N, cross_entropy, probabilities
from torch.testing import assert_close

from mmdet_ols import SCELoss


def sce_loop(scores, rows, sigmoid, alpha, beta, clamped=False):
    def log(q):
        return math.log(max(q, 1e-4))

    losses = []
    for z, row in zip(scores, rows):
        p = probabilities(z, sigmoid)
        if sigmoid:
            reverse = [-p_k * log(q) - (1 - p_k) * log(1 - q) for p_k, q in zip(p, row)]
            forward = cross_entropy(p, row, sigmoid)
            losses.append([alpha * f + beta * r for f, r in zip(forward, reverse)])
            continue
        if sum(row) == 0:
            losses.append(0 * p[0])
            continue
        reverse = -sum(row) * sum(p_k * log(q / sum(row)) for p_k, q in zip(p, row))
        if clamped:
            row = [max(q, 1e-4 * sum(row)) for q in row]
        losses.append(alpha * cross_entropy(p, row, sigmoid) + beta * reverse)
    return losses


class TestSCELoss(LossContract):
    methods = {
        'SCE': Method(partial(SCELoss, C), partial(sce_loop, alpha=6.0, beta=0.1)),
        'SCE, CIFAR-10': Method(
            partial(SCELoss, C, 0.1, 1.0), partial(sce_loop, alpha=0.1, beta=1.0)
        ),
        'SCE, clamped': Method(
            partial(SCELoss, C, label='clamped'),
            partial(sce_loop, alpha=6.0, beta=0.1, clamped=True),
            sigmoid=False,
        ),
    }
    neutral = {
        'beta 0': partial(SCELoss, C, 1.0, 0.0),
    }


def test_sce_of_a_hard_label_in_closed_form():
    scores, label = torch.randn(N, C), torch.randint(C, (N,))
    p = scores.softmax(-1)[torch.arange(N), label]
    expected = 6 * -p.log() + 0.1 * 4 * math.log(10) * (1 - p)
    assert_close(SCELoss(C, reduction='none')(scores, label), expected)
    # The slip of the OLS authors' code, as methods that take their figures need it.
    others = scores.log_softmax(-1).sum(-1) - p.log()
    clamped = SCELoss(C, label='clamped', reduction='none')(scores, label)
    assert_close(clamped, expected - 6e-4 * others)


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (partial(SCELoss, C, -1.0), '`alpha` must be at least 0, but got -1.0'),
        (partial(SCELoss, C, beta=math.nan), '`beta` must be at least 0, but got nan'),
        (
            partial(SCELoss, C, label='soft'),
            r"`label` must be one of \('exact', 'clamped'\).* 'soft'",
        ),
        (
            partial(SCELoss, C, label='clamped', use_sigmoid=True),
            "`label` must be 'exact' with use_sigmoid=True, but got 'clamped'",
        ),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
