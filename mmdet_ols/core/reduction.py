"""From element-wise losses to the number that is trained on."""

from __future__ import annotations

import torch
from torch import Tensor

REDUCTIONS = ('none', 'mean', 'sum')


def reduce_loss(loss: Tensor, reduction: str, avg_factor: float | Tensor | None) -> Tensor:
    """Reduce element-wise losses as MMDetection's `weight_reduce_loss` does.

    Differs from MMDetection in one case: the mean of an empty batch is 0 (with a graph), not NaN.

    Args:
        loss: Losses of any shape, already weighted.
        reduction: 'none', 'mean' or 'sum'.
        avg_factor: What the sum is divided by instead of the number of elements; only with 'mean'
            (with 'none' it is ignored, as in the hosts).

    Raises:
        ValueError: `avg_factor` was given with reduction 'sum'.
    """
    if reduction == 'none':
        return loss
    if reduction == 'sum':
        if avg_factor is not None:
            raise ValueError(
                "`avg_factor` cannot be used with reduction 'sum', but got "
                f"{avg_factor!r}: leave it out or set reduction='mean'."
            )
        return loss.sum()
    if avg_factor is not None:
        return loss.sum() / (avg_factor + torch.finfo(torch.float32).eps)
    return loss.mean() if loss.numel() else loss.sum()
