"""Losses that keep a state, and steps of them."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from mmdet_ols import OLSLoss, OLSSingleLoss, OLSSparseLoss

C = 5
LOSSES = {
    'OLSLoss': OLSLoss,
    'OLSSparseLoss': lambda n, **options: OLSSparseLoss(n, top_m=2, **options),
    'OLSSingleLoss': lambda n, **options: OLSSingleLoss(n, bank_size=3, **options),
}
EVERY_LOSS = pytest.mark.parametrize('make', LOSSES.values(), ids=LOSSES)


def exactly(actual, expected):
    assert_close(actual, expected, rtol=0, atol=0)


def tensors(state):
    return {name: value.clone() for name, value in state.state_dict().items()}


def scores_and_labels():
    label = torch.randint(C, (20,))
    scores = torch.randn(20, C)
    scores[torch.arange(20), label] += 1
    return scores.requires_grad_(), label


def taught_loss(criterion):
    criterion(*scores_and_labels())
    criterion.update_soft_labels()
    criterion(*scores_and_labels())


def assert_equal_steps(one, other):
    exactly(tensors(other), tensors(one))
    for _ in range(2):
        batch = scores_and_labels()
        losses = []
        for criterion in (one, other):
            torch.manual_seed(7)  # one of the losses draws
            losses.append(criterion(*batch))
            criterion.update_soft_labels()
        exactly(*losses)
        exactly(tensors(other), tensors(one))
