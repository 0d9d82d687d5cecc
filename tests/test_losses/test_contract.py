"""The tests that all losses share: that no loss is left out, and that they can fail."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_losses.harness import C, batch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

import mmdet_ols
from mmdet_ols import LSLoss
from mmdet_ols.losses.classification_loss import ClassificationLoss


def test_no_registered_loss_is_forgotten():
    registered = {
        name
        for name in mmdet_ols.__all__
        if isinstance(cls := getattr(mmdet_ols, name), type) and issubclass(cls, ClassificationLoss)
    }
    text = ''.join(path.read_text() for path in Path(__file__).parent.glob('test_*_loss.py'))
    assert set(re.findall(r'^class Test(\w+)\(LossContract\):', text, re.M)) == registered


def test_fake_tensors_would_notice():
    with FakeTensorMode(), pytest.raises(DataDependentOutputException):
        LSLoss(C)(*batch(False))
