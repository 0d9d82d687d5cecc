"""Uniform label smoothing."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mmdet_ols.core import Samples, smooth_targets
from mmdet_ols.core.arguments import check_number
from mmdet_ols.losses.classification_loss import ClassificationLoss
from mmdet_ols.registry import register_model


@register_model
class LSLoss(ClassificationLoss):
    r"""Cross entropy against the hard label smoothed evenly over all classes.

    .. math:: t = (1 - \epsilon)\,e_y + \epsilon / K

    Reference: `Rethinking the Inception Architecture <https://arxiv.org/abs/1512.00567>`_, section
    7. The softmax form is PyTorch's `cross_entropy(label_smoothing=epsilon)`: a background column
    is a class like the others. Under sigmoid a negative stays zero, which is what
    `one_hot_smoother` of MMDetection's YOLOV3Head does. MMPretrain has a `LabelSmoothLoss` of its
    own; this one is for MMDetection's heads, which have none.

    Args:
        num_classes: See `ClassificationLoss`.
        epsilon: Share of the label that is spread over all classes, in [0, 1].
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

    Example:
        >>> import torch
        >>> LSLoss(num_classes=3)(torch.zeros(2, 3), torch.tensor([0, 2]))
        tensor(1.0986)
    """

    def __init__(
        self,
        num_classes: int,
        epsilon: float = 0.1,
        *,
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
        super().__init__(
            num_classes,
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
        check_number('epsilon', epsilon, 'in [0, 1]')
        self.epsilon = epsilon

    def make_target(self, samples: Samples) -> Tensor:
        return smooth_targets(
            samples.label, self.num_columns, self.epsilon, samples.valid, samples.logits.dtype
        )

    def extra_repr(self) -> str:
        return f'epsilon={self.epsilon}, {super().extra_repr()}'
