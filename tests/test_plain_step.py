"""A training step of the plain comparison: as PyTorch does it, and captured as a CUDA graph."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from mmdet_ols import OLSLoss

sys.path.insert(0, str(Path(__file__).parents[1] / 'benchmarks'))

import plain_comparison


def make_parts(device):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 5)).to(device)
    criterion = OLSLoss(num_classes=5).to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    return network, criterion, optimizer


def batches(device, count):
    draws = torch.Generator(device).manual_seed(1)
    for _ in range(count):
        inputs = torch.randn(32, 8, device=device, generator=draws)
        yield inputs, inputs[:, :5].argmax(1)


def trained(device, graph):
    network, criterion, optimizer = make_parts(device)
    step = plain_comparison.Step(network, criterion, optimizer, amp=False, graph=graph)
    for _ in range(2):
        for inputs, labels in batches(device, plain_comparison.WARM_UP + 5):
            step(inputs, labels)
        criterion.update_soft_labels()
        for group in optimizer.param_groups:
            group['lr'] *= 0.1
        step.forget()
    return [*network.state_dict().values(), criterion.soft_labels]


def test_a_step_is_that_of_a_loop_written_out():
    network, criterion, optimizer = make_parts('cpu')
    for epoch in range(2):
        for inputs, labels in batches('cpu', plain_comparison.WARM_UP + 5):
            optimizer.zero_grad()
            criterion(network(inputs), labels).backward()
            optimizer.step()
        criterion.update_soft_labels()
        optimizer.param_groups[0]['lr'] = 0.1 * 0.1 ** (epoch + 1)
    assert_close(trained('cpu', False), [*network.state_dict().values(), criterion.soft_labels])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_a_replayed_step_trains_as_a_plain_one():
    assert_close(trained('cuda', True), trained('cuda', False))
