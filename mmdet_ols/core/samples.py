"""The samples of a call, as all parts of a loss get them."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from mmdet_ols.core.cross_entropy import label_rows


class Samples(NamedTuple):
    """A flat batch of N samples with C scores each, and how their losses are reduced."""

    #: (N, C), float32 or wider where a method gets them.
    logits: Tensor
    #: Class indices (N,), or target rows (N, C); `rows` makes them alike.
    label: Tensor
    #: Bool, in the shape of `label`: False where an index names no column (the background under
    #: sigmoid, an ignored sample) or a row's entry counts as 0.
    valid: Tensor
    #: (N, 1), under sigmoid possibly (N, C), or None.
    weight: Tensor | None = None
    #: Divisor of the sum instead of the number of elements, or None.
    avg_factor: float | Tensor | None = None
    #: 'none', 'mean' or 'sum'.
    reduction: str = 'mean'

    # No property: torch's compiler, 2.5 for example, breaks its graph at one of a named tuple.
    def has_rows(self) -> bool:
        """Whether the labels are target rows."""
        return self.label.dim() == 2

    def rows(self) -> Tensor:
        """The labels as target rows (N, C), in the dtype of the logits."""
        return label_rows(self.label, self.logits.shape[1], self.valid, self.logits.dtype)

    def is_trial(self, reduction: str) -> bool:
        """Whether a head tries its loss out, to choose samples or to weigh them by what they cost.

        It asks for element-wise losses then, and either of scores without a graph (PISA) or with
        the weights and the divisor of the loss that it is going to train on (PAA).

        Args:
            reduction: The loss's own.
        """
        if self.reduction != 'none' or reduction == 'none':
            return False
        is_weighted = self.weight is not None and self.avg_factor is not None
        return is_weighted or not self.logits.requires_grad
