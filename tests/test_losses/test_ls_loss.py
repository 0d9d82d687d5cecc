"""LSLoss against PyTorch's own label smoothing, and a loop over samples."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from reference import Reference
from test_losses.harness import C, LossContract, Method, hard_loop
from torch.testing import assert_close

from mmdet_ols import LSLoss

N = 30


def smoothing_loop(scores, rows, sigmoid, epsilon):
    smooth = [[(1 - epsilon) * q + epsilon * sum(row) / len(row) for q in row] for row in rows]
    return hard_loop(scores, smooth, sigmoid)


class TestLSLoss(LossContract):
    methods = {
        'LS': Method(partial(LSLoss, C, 0.2), partial(smoothing_loop, epsilon=0.2)),
    }
    neutral = {
        'epsilon 0': partial(LSLoss, C, 0.0),
    }


def naive(use_sigmoid, epsilon, background=False, **options):
    """Label smoothing as the reference's soft labels: uniform, and never updated."""
    reference = Reference(C, 1 - epsilon, use_sigmoid, background, **options)
    reference.soft_labels = [[1 / reference.size] * reference.size] * reference.size
    return reference


@pytest.mark.parametrize(
    'options',
    [
        dict(use_sigmoid=False),
        dict(use_sigmoid=False, background=True),
        dict(use_sigmoid=True),
        dict(use_sigmoid=True, gamma=2.0, balance=0.25),
    ],
    ids=str,
)
@pytest.mark.parametrize('epsilon', [0.0, 0.1, 1.0])
def test_every_sample_of_a_mixed_batch(epsilon, options):
    criterion = LSLoss(C, epsilon, reduction='none', **options)
    reference = naive(epsilon=epsilon, **options)
    scores = torch.randn(N, reference.size, dtype=torch.float64, requires_grad=True)
    highest = reference.size if options['use_sigmoid'] else reference.size - 1
    label = torch.randint(highest + 1, (N,))
    label[::7] = -100
    weight = torch.rand(N)
    loss = criterion(scores, label, weight)
    expected = []
    for i in range(N):
        terms = [term * weight[i] for term in reference.loss(scores[i], int(label[i]))]
        expected.append(torch.stack(terms) if options['use_sigmoid'] else sum(terms))
    expected = torch.stack(expected)
    assert_close(loss, expected)
    gradients = [torch.autograd.grad(value.sum(), scores)[0] for value in (loss, expected)]
    assert_close(*gradients)


@pytest.mark.parametrize('reduction', ['none', 'mean', 'sum'])
def test_softmax_form_is_pytorchs(reduction):
    scores, label = torch.randn(N, C + 1), torch.randint(C + 1, (N,))
    mine = LSLoss(C, 0.1, background=True, reduction=reduction)(scores, label)
    assert_close(mine, F.cross_entropy(scores, label, reduction=reduction, label_smoothing=0.1))


def test_training_changes_nothing_of_it():
    criterion = LSLoss(C)
    criterion(torch.randn(N, C), torch.randint(C, (N,)))
    assert not criterion.state_dict()


@pytest.mark.parametrize('epsilon', [-0.1, 1.1])
def test_bad_settings_are_refused(epsilon):
    with pytest.raises(ValueError, match=rf'`epsilon` must be in \[0, 1\], but got {epsilon}'):
        LSLoss(C, epsilon)
    with pytest.raises(ValueError, match='LSLoss was made for 5 score columns'):
        LSLoss(C)(torch.zeros(2, C + 1), torch.zeros(2, dtype=int))
