"""Reduction against numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from mmdet_ols.core import reduce_loss

LOSS = torch.tensor([[1.0, 2], [3, 6]])
EPS = 2**-23  # of float32


@pytest.mark.parametrize(
    ('reduction', 'avg_factor', 'expected'),
    [
        ('none', None, LOSS),
        ('none', 5, LOSS),
        ('sum', None, torch.tensor(12.0)),
        ('mean', None, torch.tensor(3.0)),
        ('mean', 5, torch.tensor(2.4)),
        ('mean', 2.5, torch.tensor(4.8)),
        ('mean', torch.tensor(5), torch.tensor(2.4)),
        ('mean', torch.tensor(2.5), torch.tensor(4.8)),
        # MMDetection's epsilon: an image without positives must not divide by zero.
        ('mean', 0, torch.tensor(12.0 / EPS)),
    ],
)
def test_reduction(reduction, avg_factor, expected):
    assert_close(reduce_loss(LOSS, reduction, avg_factor), expected)


@pytest.mark.parametrize('shape', [(0,), (0, 3)])
@pytest.mark.parametrize(
    ('reduction', 'avg_factor'), [('mean', None), ('mean', 4), ('mean', 0), ('sum', None)]
)
def test_nothing_costs_nothing_and_has_a_gradient(shape, reduction, avg_factor):
    loss = torch.zeros(shape, requires_grad=True)
    total = reduce_loss(loss, reduction, avg_factor)
    assert_close(total, torch.tensor(0.0))
    assert torch.autograd.grad(total, loss)[0].shape == shape


def test_avg_factor_with_sum_is_refused():
    with pytest.raises(ValueError, match=r"`avg_factor` cannot be used with reduction 'sum'.*4"):
        reduce_loss(LOSS, 'sum', 4)
