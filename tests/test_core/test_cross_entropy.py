"""The maths of the losses: against loops, PyTorch's own losses, and finite differences."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from mmdet_ols.core import (
    binary_cross_entropy,
    binary_focal_loss,
    cross_entropy,
    mix_targets,
    quality_focal_loss,
    smooth_targets,
)

N, C = 7, 5
CLASS_WEIGHT = torch.tensor([0.5, 1, 2, 3, 0.25])
FORMS = pytest.mark.parametrize('form', [cross_entropy, binary_cross_entropy])


def random_soft_labels(dtype=torch.float32):
    # Not symmetric, so that swapped rows and columns show.
    return torch.rand(C, C, dtype=dtype).softmax(-1)


@pytest.mark.parametrize('alpha', [0, 0.3, 1])
def test_mixed_target_of_indices(alpha):
    soft_labels = random_soft_labels()
    label = torch.tensor([3, 0, 4, 4, -100, 9])
    valid = torch.tensor([True, True, True, False, False, False])
    expected = torch.zeros(6, C)
    for i, y in enumerate([3, 0, 4]):
        for k in range(C):
            expected[i, k] = alpha * (k == y) + (1 - alpha) * soft_labels[y, k]
    assert_close(mix_targets(label, soft_labels, alpha, valid), expected)


@pytest.mark.parametrize('alpha', [0, 0.3, 1])
def test_mixed_target_of_rows(alpha):
    soft_labels = random_soft_labels()
    label = torch.rand(N, C)
    label[2] = 0  # a negative
    label[3, 1] = -1  # an ignored entry
    expected = torch.zeros(N, C)
    for i in range(N):
        row = [max(float(entry), 0) for entry in label[i]]
        for k in range(C):
            soft = sum(row[y] * float(soft_labels[y, k]) for y in range(C))
            expected[i, k] = alpha * row[k] + (1 - alpha) * soft
    assert_close(mix_targets(label, soft_labels, alpha, label >= 0), expected)
    assert_close(expected[2], torch.zeros(C))


@FORMS
@pytest.mark.parametrize('class_weight', [None, CLASS_WEIGHT.double()])
def test_gradient_is_that_of_finite_differences(form, class_weight):
    logits = torch.randn(N, C, dtype=torch.float64, requires_grad=True)
    target = mix_targets(
        torch.arange(N) % C, random_soft_labels(torch.float64), 0.5, torch.ones(N, dtype=bool)
    )
    assert torch.autograd.gradcheck(lambda x: form(x, target, class_weight), logits)


@FORMS
def test_renaming_the_classes_renames_the_losses(form):
    logits, label, soft_labels = torch.randn(N, C), torch.randint(C, (N,)), random_soft_labels()
    valid = torch.ones(N, dtype=bool)
    new_to_old = torch.randperm(C)
    renamed_label = new_to_old.argsort()[label]
    renamed_soft_labels = soft_labels[new_to_old][:, new_to_old]

    loss = form(logits, mix_targets(label, soft_labels, 0.4, valid), CLASS_WEIGHT)
    renamed = form(
        logits[:, new_to_old],
        mix_targets(renamed_label, renamed_soft_labels, 0.4, valid),
        CLASS_WEIGHT[new_to_old],
    )
    expected = loss if form is cross_entropy else loss[:, new_to_old]
    assert_close(renamed, expected)


@pytest.mark.parametrize('class_weight', [None, CLASS_WEIGHT])
def test_soft_labels_that_are_the_identity_give_pytorchs_losses(class_weight):
    logits, label = torch.randn(N, C), torch.randint(C, (N,))
    target = mix_targets(label, torch.eye(C), 0.3, torch.ones(N, dtype=bool))
    assert_close(
        cross_entropy(logits, target, class_weight),
        F.cross_entropy(logits, label, weight=class_weight, reduction='none'),
    )
    assert_close(
        binary_cross_entropy(logits, target, class_weight),
        F.binary_cross_entropy_with_logits(
            logits, F.one_hot(label, C).float(), pos_weight=class_weight, reduction='none'
        ),
    )


@pytest.mark.parametrize('class_weight', [None, CLASS_WEIGHT])
def test_soft_target_costs_what_it_costs_in_pytorch(class_weight):
    """A class weight belongs to the column, so a soft target is weighed entry by entry."""
    logits, target = torch.randn(N, C), torch.rand(N, C).softmax(-1)
    assert_close(
        cross_entropy(logits, target, class_weight),
        F.cross_entropy(logits, target, weight=class_weight, reduction='none'),
    )


def test_zero_row_is_free_under_softmax_and_pulls_all_scores_down_under_sigmoid():
    logits, nothing = torch.randn(N, C), torch.zeros(N, C)
    assert_close(cross_entropy(logits, nothing), torch.zeros(N))
    assert_close(binary_cross_entropy(logits, nothing), F.softplus(logits))


def test_masked_class_costs_nothing_where_the_target_is_zero():
    """A logit of -inf switches a class off; `F.cross_entropy` is finite there, and so are we."""
    logits = torch.tensor([[1.0, 2.0, -torch.inf]], requires_grad=True)
    loss = cross_entropy(logits, torch.tensor([[1.0, 0, 0]]))
    assert_close(loss, F.cross_entropy(logits, torch.tensor([0]), reduction='none'))
    (grad,) = torch.autograd.grad(loss.sum(), logits)
    p = torch.tensor([1.0, 2.0]).softmax(0)
    assert_close(grad, torch.tensor([[p[0] - 1, p[1], 0]]))


def test_no_samples():
    logits = torch.zeros(0, C)
    target = mix_targets(torch.zeros(0, dtype=int), torch.eye(C), 0.5, torch.zeros(0, dtype=bool))
    assert target.shape == (0, C)
    assert cross_entropy(logits, target).shape == (0,)
    assert binary_cross_entropy(logits, target).shape == (0, C)
    rows = mix_targets(logits, torch.eye(C), 0.5, torch.zeros(0, C, dtype=bool))
    assert rows.shape == (0, C)


# --- the focal form ------------------------------------------------------------------------------


@pytest.mark.parametrize('gamma', [0.0, 0.5, 2.0])
@pytest.mark.parametrize('balance', [None, 0.25])
@pytest.mark.parametrize('class_weight', [None, CLASS_WEIGHT.double()])
def test_focal_gradient_is_that_of_finite_differences(gamma, balance, class_weight):
    logits = 3 * torch.randn(N, C, dtype=torch.float64)
    target = torch.rand(N, C, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda x: binary_focal_loss(x, target, gamma, balance, class_weight),
        logits.requires_grad_(),
    )


def test_focal_form_without_focus_is_the_binary_cross_entropy():
    logits, target = torch.randn(N, C), torch.rand(N, C)
    expected = binary_cross_entropy(logits, target, CLASS_WEIGHT)
    assert_close(binary_focal_loss(logits, target, 0.0, None, CLASS_WEIGHT), expected)
    assert_close(binary_focal_loss(logits, target, 0.0, 0.5, CLASS_WEIGHT), expected / 2)


def test_focal_form_is_linear_in_the_target():
    logits, one, two = torch.randn(N, C), torch.rand(N, C), torch.rand(N, C)
    parts = [binary_focal_loss(logits, target, 2.0, 0.25) for target in (one, two)]
    mixed = binary_focal_loss(logits, 0.3 * one + 0.7 * two, 2.0, 0.25)
    assert_close(mixed, 0.3 * parts[0] + 0.7 * parts[1])


@pytest.mark.parametrize('gamma', [0.5, 2.0])
def test_focal_form_stays_finite_where_scores_saturate(gamma):
    logits = torch.tensor([[-200.0, -30.0, 0.0, 30.0, 200.0]], requires_grad=True)
    for target in (torch.zeros(1, C), torch.ones(1, C), torch.full((1, C), 0.5)):
        loss = binary_focal_loss(logits, target, gamma, 0.25)
        (gradient,) = torch.autograd.grad(loss.sum(), logits)
        assert loss.isfinite().all() and gradient.isfinite().all()
    # Where the score is wrong beyond doubt the factor is 1: the loss is the logit itself.
    assert_close(binary_focal_loss(logits, torch.zeros(1, C), gamma)[0, -1].item(), 200.0)


# --- uniform smoothing ---------------------------------------------------------------------------


@pytest.mark.parametrize('epsilon', [0, 0.1, 1])
def test_smooth_target_of_indices_and_rows(epsilon):
    label = torch.tensor([3, 0, 4, -100])
    valid = label >= 0
    rows = torch.zeros(4, C)
    for i in range(3):
        rows[i, label[i]] = 1
    expected = torch.zeros(4, C)
    for i in range(3):
        for k in range(C):
            expected[i, k] = (1 - epsilon) * (k == label[i]) + epsilon / C
    assert_close(smooth_targets(label, C, epsilon, valid, torch.float32), expected)
    assert_close(smooth_targets(rows, C, epsilon, rows >= 0, torch.float32), expected)
    scaled = smooth_targets(0.4 * rows, C, epsilon, rows >= 0, torch.float64)
    assert_close(scaled, 0.4 * expected.double(), check_dtype=True)


# --- the quality focal form ----------------------------------------------------------------------


@pytest.mark.parametrize('beta', [0.0, 0.5, 2.0])
@pytest.mark.parametrize('class_weight', [None, CLASS_WEIGHT.double()])
def test_quality_focal_gradient_is_that_of_finite_differences(beta, class_weight):
    logits = 3 * torch.randn(N, C, dtype=torch.float64)
    target = torch.rand(N, C, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda x: quality_focal_loss(x, target, beta, class_weight), logits.requires_grad_()
    )


def test_quality_focal_form_by_hand():
    logits, target = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.8, 0.0]])
    p = 1 / (1 + math.exp(-1))
    expected = [0.3**2 * math.log(2), p**2 * -math.log(1 - p)]
    assert_close(quality_focal_loss(logits, target, 2.0), torch.tensor([expected]))
    plain = binary_cross_entropy(logits, target)
    assert_close(quality_focal_loss(logits, target, 0.0), plain)


@pytest.mark.parametrize('beta', [0.5, 2.0])
def test_quality_focal_form_stays_finite_where_scores_saturate(beta):
    logits = torch.tensor([[-200.0, -30.0, 0.0, 30.0, 200.0]], requires_grad=True)
    for target in (torch.zeros(1, C), torch.ones(1, C), torch.full((1, C), 0.5)):
        loss = quality_focal_loss(logits, target, beta)
        (gradient,) = torch.autograd.grad(loss.sum(), logits)
        assert loss.isfinite().all() and gradient.isfinite().all()
