"""Online Label Smoothing."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from mmdet_ols.core import (
    CannotCompileError,
    SoftLabelState,
    can_fuse,
    compiled_library,
    fused_cross_entropy,
    mix_targets,
)
from mmdet_ols.losses.classification_loss import ClassificationLoss
from mmdet_ols.registry import register_model

SIGMOID_READINGS = ('normalized', 'softmax', 'mean')
#: The methods that the fused form stands for: a class that does one in its own way has none.
FUSED_METHODS = ('make_target', 'total_loss', 'learn', 'accumulate', '_add_rows')


@register_model
class OLSLoss(ClassificationLoss, SoftLabelState):
    r"""Cross entropy against the hard label and the class's online soft label together.

    Keeps, for every class, the mean prediction of its correctly classified samples in the last
    epoch, and learns from it. The soft labels change in `update_soft_labels()` alone: `OLSHook`
    calls it in MMEngine's training, your own loop after every epoch. Validation never teaches.

    .. math:: L = \alpha\,\mathrm{CE}(p, y) - (1 - \alpha)\sum_c S_{y,c}\log p_c

    Reference: `Delving Deep into Label Smoothing <https://arxiv.org/abs/2011.12562>`_, Eq. 3 to 6.
    With the defaults it is the paper's text. The authors' CIFAR script is `start='zeros',
    empty_class='uniform'`; their fine-grained script adds `freeze_confidence=0.88` to a uniform
    start and weighs both parts with 1.0, which is `loss_weight=2.0` at `alpha=0.5`.

    The sigmoid form, which the paper does not define, is one binary cross entropy (or focal loss)
    for each score against the same mixed target; `sigmoid_reading` says what its soft labels are.

    With `alpha=1` it equals MMDetection's (and, where the two agree, MMPretrain's)
    `CrossEntropyLoss`, or with `gamma` its `FocalLoss`, in value and gradient; but the mean of an
    empty batch is 0, not NaN, and rows with several ones are refused.

    Args:
        num_classes: Number of foreground classes, as the head's own `num_classes`.
        alpha: Share of the hard loss, in [0, 1] (0.5 in the paper).
        soft_row_threshold: A soft target row (mixup, CutMix) teaches its largest class if that
            class holds at least this share of the row, in (0, 1].
        sigmoid_reading: How predictions under `use_sigmoid` become soft labels: 'normalized' (the
            mean sigmoid scores, each row divided by its total), 'softmax' (the mean softmax of the
            same logits), or 'mean' (the mean sigmoid scores as they are; these rows need not sum to
            1).
        start: See `SoftLabelState`.
        empty_class: See `SoftLabelState`.
        freeze_confidence: See `SoftLabelState`.
        **options: `use_sigmoid`, `background`, `reduction`, `loss_weight`, `class_weight`,
            `ignore_index`, `avg_non_ignore`, `gamma`, `balance`, `implementation`: see
            `ClassificationLoss`. The fused form is for training a softmax on class indices on a
            CPU; other calls are computed plainly.

    Raises:
        ValueError: An argument, or a label on the CPU, is outside its range.

    Example:
        >>> criterion = OLSLoss(num_classes=3)
        >>> criterion(torch.zeros(2, 3), torch.tensor([0, 2]))
        tensor(1.0986)
        >>> _ = criterion.update_soft_labels()
    """

    has_fused_form = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = (getattr(cls, name) is getattr(OLSLoss, name) for name in FUSED_METHODS)
        cls.has_fused_form = all(own)

    def __init__(
        self,
        num_classes: int,
        alpha: float = 0.5,
        *,
        soft_row_threshold: float = 0.8,
        sigmoid_reading: str = 'normalized',
        start: str = 'uniform',
        empty_class: str = 'keep',
        freeze_confidence: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(
            num_classes,
            divide_by='count' if sigmoid_reading == 'mean' else 'total',
            start=start,
            empty_class=empty_class,
            freeze_confidence=freeze_confidence,
            **options,
        )
        if not 0 <= alpha <= 1:
            raise ValueError(
                f'`alpha`, the share of the hard loss, must be in [0, 1], but got {alpha!r}.'
            )
        if not 0 < soft_row_threshold <= 1:
            raise ValueError(
                f'`soft_row_threshold` must be in (0, 1], but got {soft_row_threshold!r}.'
            )
        if sigmoid_reading not in SIGMOID_READINGS:
            raise ValueError(
                f'`sigmoid_reading` must be one of {SIGMOID_READINGS}, but got {sigmoid_reading!r}.'
            )
        if sigmoid_reading != 'normalized' and not self.use_sigmoid:
            raise ValueError(
                f'`sigmoid_reading` is for sigmoid scores, but got {sigmoid_reading!r} without '
                'use_sigmoid=True: leave it out, or set that.'
            )
        if self.implementation == 'fused':
            compiled_library()  # fails here, or not in the training
        self.alpha = alpha
        self.soft_row_threshold = soft_row_threshold
        self.sigmoid_reading = sigmoid_reading

    def shortcut(
        self,
        logits: Tensor,
        label: Tensor,
        weight: Tensor | None,
        avg_factor: float | Tensor | None,
        reduction: str,
        ignore_index: int,
    ) -> Tensor | None:
        """One compiled function for a batch whose labels are all classes; see `core`."""
        if not (
            self.has_fused_form
            and self.implementation in ('auto', 'fused')
            and self.training
            and not self.use_sigmoid
            and self.column_weight is None
            and (reduction == 'mean' or (reduction == 'sum' and avg_factor is None))
            and not 0 <= ignore_index < self.num_columns
            and not (isinstance(avg_factor, Tensor) and avg_factor.requires_grad)
            and can_fuse(logits, label, weight, self)
        ):
            return None
        factor = self.loss_weight
        if reduction == 'mean':
            eps = torch.finfo(torch.float32).eps  # as in `reduce_loss`
            factor /= len(label) if avg_factor is None else float(avg_factor) + eps
        try:
            return fused_cross_entropy(logits, label, weight, factor, self.alpha, self)
        except CannotCompileError as error:
            warnings.warn(
                "OLSLoss is computed operation by operation (implementation='plain', which also "
                f'silences this), several times as slow on a CPU. {error}',
                stacklevel=2,
            )
            self.implementation = 'plain'
            return None

    def make_target(self, logits: Tensor, label: Tensor, valid: Tensor) -> Tensor:
        return mix_targets(label, self.soft_labels.to(logits.dtype), self.alpha, valid)

    def learn(self, logits: Tensor, label: Tensor, valid: Tensor, weight: Tensor | None) -> None:
        """Hand the samples that may teach to the state; see `SoftLabelState.accumulate`."""
        if label.dim() == 1:
            teaches = valid
        else:
            rows = torch.where(valid, label, 0)
            largest, label = rows.max(-1)
            teaches = (largest > 0) & (largest >= self.soft_row_threshold * rows.sum(-1))
        teaches = teaches & (label < self.num_classes)
        if weight is not None:
            teaches = teaches & (weight != 0).any(-1)
        sigmoid = self.use_sigmoid and self.sigmoid_reading != 'softmax'
        prob = logits.sigmoid() if sigmoid else logits.softmax(-1)
        self.accumulate(logits, prob, label, teaches)

    def extra_repr(self) -> str:
        reading = f', sigmoid_reading={self.sigmoid_reading!r}' if self.use_sigmoid else ''
        return f'alpha={self.alpha}{reading}, {super().extra_repr()}'
