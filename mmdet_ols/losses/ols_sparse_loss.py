"""Online Label Smoothing for very many classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from mmdet_ols.core import Samples, SparseSoftLabels
from mmdet_ols.losses.ols_loss import OLSLoss, check_option, divisor
from mmdet_ols.registry import register_model


@register_model
class OLSSparseLoss(OLSLoss):
    r"""`OLSLoss` whose soft labels keep only their largest entries, for thousands of classes.

    The other entries of a soft label share evenly what remains. So memory grows with classes times
    `top_m` and not with the square of the classes: 67 MiB instead of 3.6 GiB for 21,841 classes. No
    step of a training makes a matrix of classes times classes. `SparseSoftLabels` says how the
    entries are found and how they relate to the dense ones; with `top_m=num_classes` they are the
    same, up to rounding.

    `loss.soft_labels` makes the dense matrix on request. Tools read its checkpoints like any other.

    Args:
        num_classes: Number of foreground classes, as the head's own `num_classes`.
        alpha: Share of the hard loss, in [0, 1].
        top_m: How many entries of each soft label are kept, at least 1.
        soft_row_threshold: See `OLSLoss`, as for the arguments after it.
        sigmoid_reading: See `OLSLoss`.
        start: See `OLSLoss`.
        empty_class: See `OLSLoss`.
        freeze_confidence: See `OLSLoss`.
        state: See `OLSLoss`; a `SparseSoftLabels`.
        use_sigmoid: See `ClassificationLoss`, as for the arguments after it.
        background: See `ClassificationLoss`.
        reduction: See `ClassificationLoss`.
        loss_weight: See `ClassificationLoss`.
        class_weight: See `ClassificationLoss`.
        ignore_index: See `ClassificationLoss`.
        avg_non_ignore: See `ClassificationLoss`.
        gamma: See `ClassificationLoss`.
        balance: See `ClassificationLoss`.
        quality_beta: See `ClassificationLoss`.
        implementation: See `ClassificationLoss`.

    Raises:
        ValueError: An argument, or a label on the CPU, is outside its range.
        TypeError: `state` is of another kind.

    Example:
        >>> import torch
        >>> criterion = OLSSparseLoss(num_classes=1000, top_m=20)
        >>> criterion(torch.zeros(2, 1000), torch.tensor([0, 2]))
        tensor(6.9078)
        >>> _ = criterion.update_soft_labels()
    """

    state_class = SparseSoftLabels
    if TYPE_CHECKING:  # see `OLSLoss`
        state: SparseSoftLabels

    def __init__(
        self,
        num_classes: int,
        alpha: float = 0.5,
        *,
        top_m: int = 100,
        soft_row_threshold: float = 0.8,
        sigmoid_reading: str = 'normalized',
        start: str = 'uniform',
        empty_class: str = 'keep',
        freeze_confidence: float | None = None,
        state: SparseSoftLabels | None = None,
        use_sigmoid: bool = False,
        background: bool = False,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
        class_weight: Sequence[float] | None = None,
        ignore_index: int | None = None,
        avg_non_ignore: bool = False,
        gamma: float = 0.0,
        balance: float | None = None,
        quality_beta: float | None = None,
        implementation: str = 'auto',
    ) -> None:
        if state is None:
            state = SparseSoftLabels(
                num_classes,
                top_m,
                background,
                start,
                empty_class,
                freeze_confidence,
                divisor(sigmoid_reading),
            )
        else:
            check_option(state, 'top_m', top_m, 100)
        super().__init__(
            num_classes,
            alpha,
            soft_row_threshold=soft_row_threshold,
            sigmoid_reading=sigmoid_reading,
            start=start,
            empty_class=empty_class,
            freeze_confidence=freeze_confidence,
            state=state,
            use_sigmoid=use_sigmoid,
            background=background,
            reduction=reduction,
            loss_weight=loss_weight,
            class_weight=class_weight,
            ignore_index=ignore_index,
            avg_non_ignore=avg_non_ignore,
            gamma=gamma,
            balance=balance,
            quality_beta=quality_beta,
            implementation=implementation,
        )

    @property
    def top_m(self) -> int:
        return self.state.top_m

    def make_target(self, samples: Samples) -> Tensor:
        return self.state.mixed_targets(
            samples.label, self.alpha, samples.valid, samples.logits.dtype
        )

    def extra_repr(self) -> str:
        return f'top_m={self.top_m}, {super().extra_repr()}'
