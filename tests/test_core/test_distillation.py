"""The divergence of softened predictions, against sums over classes in plain Python."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from mmdet_ols.core.distillation import softened_divergence


def divergence_by_hand(scores, teacher, temperature):
    """KL(teacher || student) of one sample: the sum of q_k (ln q_k - ln p_k)."""

    def softmax(values):
        exps = [math.exp(value / temperature) for value in values]
        return [value / sum(exps) for value in exps]

    p, q = softmax(scores), softmax(teacher)
    return sum(q_k * (math.log(q_k) - math.log(p_k)) for p_k, q_k in zip(p, q))


@pytest.mark.parametrize('temperature', [1.0, 3.0])
def test_it_is_the_sum_over_the_classes_without_the_squared_temperature(temperature):
    scores, teacher = 3 * torch.randn(5, 4), 3 * torch.randn(5, 4)
    expected = [
        divergence_by_hand(z, t, temperature) for z, t in zip(scores.tolist(), teacher.tolist())
    ]
    assert_close(softened_divergence(scores, teacher, temperature), torch.tensor(expected))
    assert_close(softened_divergence(scores, scores, temperature), torch.zeros(5))


def test_the_gradient_is_the_difference_of_the_predictions():
    scores, teacher = torch.randn(5, 4, requires_grad=True), torch.randn(5, 4)
    softened_divergence(scores, teacher, 3.0).sum().backward()
    assert_close(scores.grad, ((scores / 3).softmax(1) - (teacher / 3).softmax(1)).detach() / 3)


def test_half_precision_is_computed_in_float32_and_far_scores_stay_finite():
    scores = torch.tensor([[300.0, -300.0]], dtype=torch.bfloat16)
    value = softened_divergence(scores, -scores, 1.0)
    assert value.dtype == torch.float32
    assert_close(value, torch.tensor([600.0]))
