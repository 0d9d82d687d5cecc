"""The maths of the losses: against loops, PyTorch's own losses, and finite differences."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from mmdet_ols.core import binary_cross_entropy, cross_entropy, mix_targets

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
