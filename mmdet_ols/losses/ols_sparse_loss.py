"""Online Label Smoothing for very many classes."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mmdet_ols.core import SparseSoftLabels
from mmdet_ols.losses.ols_loss import OLSLoss
from mmdet_ols.registry import register_model


@register_model
class OLSSparseLoss(OLSLoss, SparseSoftLabels):
    r"""`OLSLoss` whose soft labels keep their largest entries alone, for thousands of classes.

    The other entries of a soft label share evenly what remains. So memory grows with classes times
    `top_m`, not with their square: 67 MiB in place of 3.6 GiB for 21,841 classes, and nothing that
    is done in a training makes a matrix of classes times classes. `SparseSoftLabels` says how the
    entries are found, and what they are to the dense ones; with `top_m=num_classes` they are the
    same, up to rounding.

    `loss.soft_labels` makes the dense matrix for whoever wants to look at it. Tools read a
    checkpoint of it as of any other.

    Args:
        num_classes: Number of foreground classes, as the head's own `num_classes`.
        alpha: Share of the hard loss, in [0, 1].
        top_m: How many entries of each soft label are kept, at least 1.
        **options: The other arguments of `OLSLoss`.

    Raises:
        ValueError: An argument, or a label on the CPU, is outside its range.

    Example:
        >>> import torch
        >>> criterion = OLSSparseLoss(num_classes=1000, top_m=20)
        >>> criterion(torch.zeros(2, 1000), torch.tensor([0, 2]))
        tensor(6.9078)
        >>> _ = criterion.update_soft_labels()
    """

    def __init__(
        self, num_classes: int, alpha: float = 0.5, *, top_m: int = 100, **options: Any
    ) -> None:
        super().__init__(num_classes, alpha, top_m=top_m, **options)

    def make_target(self, logits: Tensor, label: Tensor, valid: Tensor) -> Tensor:
        return self.mixed_targets(label, self.alpha, valid, logits.dtype)

    def extra_repr(self) -> str:
        return f'top_m={self.top_m}, {super().extra_repr()}'
