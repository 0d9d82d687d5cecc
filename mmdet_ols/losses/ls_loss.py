"""Uniform label smoothing."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mmdet_ols.core import smooth_targets
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
        **options: The other arguments of `ClassificationLoss`.

    Raises:
        ValueError: An argument, or a label on the CPU, is outside its range.

    Example:
        >>> import torch
        >>> LSLoss(num_classes=3)(torch.zeros(2, 3), torch.tensor([0, 2]))
        tensor(1.0986)
    """

    def __init__(self, num_classes: int, epsilon: float = 0.1, **options: Any) -> None:
        super().__init__(num_classes, **options)
        if not 0 <= epsilon <= 1:
            raise ValueError(f'`epsilon` must be in [0, 1], but got {epsilon!r}.')
        self.epsilon = epsilon

    def make_target(self, logits: Tensor, label: Tensor, valid: Tensor) -> Tensor:
        return smooth_targets(label, self.num_columns, self.epsilon, valid, logits.dtype)

    def extra_repr(self) -> str:
        return f'epsilon={self.epsilon}, {super().extra_repr()}'
