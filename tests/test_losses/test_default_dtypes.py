"""Losses that are made, and called, under another default dtype than float32."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from mmdet_ols import (
    BootstrapLoss,
    DisturbLabelLoss,
    LSLoss,
    OLSLoss,
    OLSSingleLoss,
    OLSSparseLoss,
    PairwiseConfusionLoss,
    SCELoss,
    TfKDRegLoss,
)

C = 5
WEIGHT = [0.1, 1.0, 2.5, 0.3, 1.7]
MAKE = {
    'OLS': lambda: OLSLoss(C, implementation='plain'),
    'fused': lambda: OLSLoss(C, implementation='fused'),
    'sigmoid': lambda: OLSLoss(C, use_sigmoid=True, class_weight=WEIGHT),
    'sparse': lambda: OLSSparseLoss(C, top_m=2, class_weight=WEIGHT),
    'single': lambda: OLSSingleLoss(C, bank_size=3),
    'LS': lambda: LSLoss(C, class_weight=WEIGHT),
    'SCE': lambda: SCELoss(C),
    'bootstrap': lambda: BootstrapLoss(C),
    'disturb': lambda: DisturbLabelLoss(C, rate=0.1),
    'confusion': lambda: PairwiseConfusionLoss(C),
    'teacher': lambda: TfKDRegLoss(C),
}
EVERY_LOSS = pytest.mark.parametrize('make', MAKE.values(), ids=MAKE)
DTYPES = pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16, torch.float16])


@pytest.fixture()
def default(dtype):
    torch.set_default_dtype(dtype)
    yield
    torch.set_default_dtype(torch.float32)


def batch():
    label = torch.arange(300) % C
    noise = torch.randn(300, C, dtype=torch.float32)
    return (torch.eye(C, dtype=torch.float32)[label] + noise).requires_grad_(), label


def trained(make):
    """Loss, gradient, state and soft labels of two steps, with a divisor that bfloat16 rounds."""
    torch.manual_seed(1)
    criterion, result = make(), []
    scores, label = batch()
    for _ in range(2):
        torch.manual_seed(2)
        loss = criterion(scores, label, avg_factor=257)
        result += [loss.detach(), torch.autograd.grad(loss, scores)[0]]
        if criterion.has_rolling_state:
            result += [value.clone() for value in criterion.state_dict().values()]
            result += list(criterion.update_soft_labels())
    return result


@pytest.fixture()
def expected(make):
    return trained(make)


@EVERY_LOSS
@DTYPES
def test_a_default_dtype_changes_nothing(make, dtype, expected, default):
    """It holds while the loss is made, and while it is used."""
    assert_close(trained(make), expected, rtol=0, atol=0)


@DTYPES
def test_the_divisor_of_a_compiled_loss_is_not_rounded(dtype, default, monkeypatch):
    monkeypatch.setattr(
        'mmdet_ols.losses.classification_loss._compiled_compute',
        lambda: lambda loss, samples: samples.avg_factor,
    )
    criterion = OLSLoss(C, implementation='compiled')
    assert criterion(*batch(), avg_factor=257).item() == 257


@EVERY_LOSS
@pytest.mark.parametrize('convert', ['half', 'bfloat16', 'double'])
def test_a_converted_loss_computes_as_before(make, convert):
    expected = trained(make)
    assert_close(trained(lambda: getattr(make(), convert)()), expected, rtol=0, atol=0)
