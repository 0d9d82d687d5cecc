"""The example of timm: mixed rows, resuming, averaged weights."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from test_examples.harness import assert_same, assert_trained_alike, load, train_plainly
from torch import nn
from torch.testing import assert_close
from torch.utils.data import DataLoader

from mmdet_ols import OLSLoss

example = load('timm_loop', 'timm')
from timm.data import Mixup  # noqa: E402
from timm.loss import SoftTargetCrossEntropy  # noqa: E402
from timm.utils import ModelEmaV3  # noqa: E402


def mixed(epoch):
    """The batches of an epoch, mixed as the example mixes them."""
    np.random.seed(epoch)
    mixup = Mixup(mixup_alpha=0.2, cutmix_alpha=1.0, label_smoothing=0, num_classes=5)
    return [mixup(*batch) for batch in DataLoader(example.make_data(), batch_size=16)]


@pytest.fixture
def float64():
    """A network with BatchNorm doubles what it is rounded by every few steps."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_it_trains_as_a_loop_over_single_samples(float64, tmp_path):
    run = example.main(tmp_path)
    model = example.make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    epochs = [functools.partial(mixed, epoch) for epoch in range(3)]
    assert_trained_alike(*run, model, train_plainly(model, epochs, optimizer), rtol=1e-4)


def test_it_resumes_exactly(tmp_path):
    whole = example.main(tmp_path / 'whole')
    example.main(tmp_path, epochs=1)
    assert_same(example.main(tmp_path, resume=True), whole)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize('classes', [10, 1000])
def test_targets_of_mixup_are_taken_in_every_dtype(dtype, classes):
    """Rows that were rounded to a half precision do not sum to exactly 1."""
    mixup = Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, label_smoothing=0.1, num_classes=classes)
    criterion, timms = OLSLoss(classes, alpha=1.0), SoftTargetCrossEntropy()
    for _ in range(10):
        _, targets = mixup(torch.randn(16, 3, 8, 8), torch.randint(classes, (16,)))
        targets = targets.to(dtype)
        logits = torch.randn(16, classes, requires_grad=True)
        assert_close(criterion(logits, targets), timms(logits, targets.float()), rtol=1e-4, atol=0)


def test_the_average_of_a_model_that_owns_its_loss_teaches_nothing():
    """Its copies of the sums are averaged, too, but nothing that is trained on reads them."""
    model = nn.ModuleDict(dict(net=nn.Linear(4, 5), criterion=OLSLoss(5)))
    average = ModelEmaV3(model, decay=0.5)
    inputs, labels = torch.randn(8, 4), torch.randint(5, (8,))
    for _ in range(3):
        model['criterion'](model['net'](inputs), labels).backward()
        average.update(model)
    assert model['criterion'].sample_count.sum() == 3 * 8
    average.module['criterion'](average.module['net'](inputs), labels)
    assert average.module['criterion'].sample_count.sum() == 0.5 * 24 + 0.25 * 16 + 0.125 * 8
