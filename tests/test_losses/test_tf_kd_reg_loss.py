"""TfKDRegLoss: the divergence from a teacher made by hand."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from test_losses.harness import C, LossContract, Method, cross_entropy, softmax
from torch.testing import assert_close

from mmdet_ols import TfKDRegLoss


def tf_kd_loop(scores, rows, sigmoid, alpha, temperature, multiplier, over_classes):
    losses = []
    for z, row in zip(scores, rows):
        p = softmax(z)
        divergence = 0
        for y, share in enumerate(row):
            u = [0.99 if k == y else 0.01 / (len(row) - 1) for k in range(len(row))]
            exps = [math.exp(value / temperature) for value in u]
            v = [e / sum(exps) for e in exps]
            terms = [v_k * (math.log(v_k) - torch.log(p_k)) for v_k, p_k in zip(v, p)]
            divergence = divergence + share * sum(terms)
        if over_classes:
            divergence = divergence / len(row)
        hard = cross_entropy(p, row, sigmoid)
        losses.append((1 - alpha) * hard + alpha * multiplier * divergence)
    return losses


class TestTfKDRegLoss(LossContract):
    methods = {
        'Tf-KD': Method(
            partial(TfKDRegLoss, C),
            partial(tf_kd_loop, alpha=0.95, temperature=40, multiplier=1, over_classes=True),
            sigmoid=False,
        ),
        'Tf-KD, fair': Method(
            partial(TfKDRegLoss, C, 0.4, 0.5, 3.0, 'fair'),
            partial(tf_kd_loop, alpha=0.4, temperature=0.5, multiplier=3, over_classes=False),
            sigmoid=False,
        ),
    }
    neutral = {
        'alpha 0': partial(TfKDRegLoss, C, 0.0),
        'fair, alpha 0': partial(TfKDRegLoss, C, 0.0, form='fair'),
    }
    neutral_under_sigmoid = False


def test_teacher_of_tf_kd_is_almost_uniform():
    right, wrong = TfKDRegLoss(200).teacher
    assert_close(right + 199 * wrong, 1.0)
    assert_close(right / wrong, math.exp((0.99 - 0.01 / 199) / 40))
    # What a student who agrees with the teacher costs: nothing, but for the label's part.
    student = torch.full((1, 200), wrong).index_fill(1, torch.tensor([7]), right).log()
    loss = TfKDRegLoss(200, 1.0, form='fair')(student, torch.tensor([7]))
    assert_close(loss, torch.tensor(0.0), rtol=0, atol=1e-6)


def test_a_small_temperature_does_not_overflow():
    criterion = TfKDRegLoss(C, temperature=1e-3, form='fair')
    assert criterion.teacher == (1.0, 0.0)
    scores, label = torch.randn(4, C), torch.tensor([0, 1, 2, 0])
    assert_close(criterion(scores, label), F.cross_entropy(scores, label))  # both parts are hard
    assert TfKDRegLoss(3, temperature=1e-4, correct_prob=0.0).teacher == (0.0, 0.5)


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (
            partial(TfKDRegLoss, C, use_sigmoid=True),
            'TfKDRegLoss is a divergence between distributions .* use_sigmoid=True: take LSLoss',
        ),
        (partial(TfKDRegLoss, C, 2.0), r'`alpha` must be in \[0, 1\], but got 2.0'),
        (partial(TfKDRegLoss, C, temperature=0), '`temperature` must be above 0, but got 0'),
        (partial(TfKDRegLoss, C, multiplier=-1), '`multiplier` must be at least 0, but got -1'),
        (partial(TfKDRegLoss, C, correct_prob=99), r'`correct_prob` must be in \[0, 1\].* got 99'),
        (partial(TfKDRegLoss, C, form='mean'), r"`form` must be one of .*'fair'.* got 'mean'"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
