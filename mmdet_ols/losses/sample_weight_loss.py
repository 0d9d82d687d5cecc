"""Cross entropy of each sample, for training loops that learn what the samples weigh."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mmdet_ols.core import SampleState
from mmdet_ols.losses.sample_loss import SampleLoss
from mmdet_ols.registry import register_model


@register_model
class SampleWeightLoss(SampleLoss):
    """Cross entropy that leaves the weights of the samples to the training loop.

    In training it returns the loss of each sample instead of their mean, so that the loop can weigh
    them (`L2RWTrainLoop`, `MetaWeightNetTrainLoop`); MMEngine's own loops average them. It keeps
    what the loop says of each sample: `state.weight` is the mean of the weights that the sample had
    in the last epoch in which it occurred.

    Args:
        num_classes: Number of classes.
        num_samples: Number of training samples; None lets `SampleStateHook` find out.
        use_sigmoid: See `SampleLoss`, as for the arguments after it.
        reduction: Outside of training.
        loss_weight: See `SampleLoss`.
        class_weight: See `SampleLoss`.
        ignore_index: See `SampleLoss`.

    Raises:
        ValueError: An argument, or a label on the CPU, is outside its range.

    Example:
        >>> import torch
        >>> criterion = SampleWeightLoss(num_classes=2, num_samples=3)
        >>> scores, number = torch.zeros(2, 2, requires_grad=True), torch.tensor([2, 0])
        >>> criterion(scores, torch.tensor([1, 0]), sample_idx=number).detach()
        tensor([0.6931, 0.6931])
        >>> criterion.record_weights(number, torch.tensor([0.5, 1.0]))
        >>> criterion.state.roll_over()
        2
        >>> criterion.state.opinion()['weight']
        tensor([1.0000,    nan, 0.5000])
    """

    augmented = True  # it asks for no pass, and so for no images without augmentation

    def __init__(
        self,
        num_classes: int,
        num_samples: int | None = None,
        *,
        use_sigmoid: bool = False,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
        class_weight: Sequence[float] | None = None,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__(
            num_classes,
            SampleState(num_samples, recorded=dict(weight=())),
            use_sigmoid=use_sigmoid,
            reduction=reduction,
            loss_weight=loss_weight,
            class_weight=class_weight,
            ignore_index=ignore_index,
        )

    def sample_losses(self, logits: Tensor, rows: Tensor, sample_idx: Tensor) -> Tensor:
        return self.plain_losses(logits, rows)

    def forward(  # type: ignore[override]
        self,
        cls_score: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
        ignore_index: int | None = None,
        sample_idx: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of each sample in training, (B,), and their mean elsewhere.

        Args:
            cls_score: See `SampleLoss.forward`, as for all arguments.
            label: See there.
            weight: See there.
            avg_factor: See there.
            reduction_override: Replaces the reduction in training, too.
            ignore_index: See there.
            sample_idx: See there.
        """
        if self.training and reduction_override is None:
            reduction_override = 'none'
        return super().forward(
            cls_score, label, weight, avg_factor, reduction_override, ignore_index, sample_idx
        )

    def record_weights(self, sample_idx: Tensor, weights: Tensor) -> None:
        """Keep what the loop says of the samples of a batch.

        Args:
            sample_idx: Their numbers, (B,).
            weights: Their weights, (B,); 1 is what a sample weighs without the method.
        """
        if self.state.num_samples:
            self.state.record(sample_idx, weight=weights)
