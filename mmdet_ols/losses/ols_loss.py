"""Online Label Smoothing."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmdet_ols.core import (
    SoftLabelState,
    binary_cross_entropy,
    cross_entropy,
    mix_targets,
    reduce_loss,
)
from mmdet_ols.core.reduction import check_reduction
from mmdet_ols.registry import register_model


@register_model
class OLSLoss(SoftLabelState):
    r"""Cross entropy against the hard label and the class's online soft label together.

    Keeps, for every class, the mean prediction of its correctly classified samples in the last
    epoch, and learns from it. The soft labels change in `update_soft_labels()` alone: `OLSHook`
    calls it in MMEngine's training, your own loop after every epoch. Validation never teaches.

    .. math:: L = \alpha\,\mathrm{CE}(p, y) - (1 - \alpha)\sum_c S_{y,c}\log p_c

    Reference: `Delving Deep into Label Smoothing <https://arxiv.org/abs/2011.12562>`_, Eq. 3 to 6.
    With the defaults it is the paper's text. The authors' CIFAR script is `start='zeros',
    empty_class='uniform'`; their fine-grained script adds `freeze_confidence=0.88` to a uniform
    start and weighs both parts with 1.0, which is `loss_weight=2.0` at `alpha=0.5`.

    The sigmoid form, which the paper does not define, is one binary cross entropy for each score
    against the same mixed target; there the probabilities are the sigmoid scores, and the roll-over
    divides each row of their sums by its total.

    With `alpha=1` it equals MMDetection's (and, where the two agree, MMPretrain's)
    `CrossEntropyLoss` in value and gradient; but the mean of an empty batch is 0, not NaN, and
    rows with several ones are refused.

    Args:
        num_classes: Number of foreground classes, as the head's own `num_classes`.
        alpha: Share of the hard loss, in [0, 1] (0.5 in the paper).
        use_sigmoid: Independent sigmoid scores instead of a softmax.
        background: Whether the scores have a last column more for the background (MMDetection's
            softmax heads).
        reduction: 'mean', 'sum' or 'none'.
        loss_weight: Factor of the loss.
        class_weight: A weight for each score column. Under sigmoid it weighs the positive part, as
            in MMDetection.
        ignore_index: Label that costs nothing and teaches nothing; None means -100.
        avg_non_ignore: Whether the mean (without `avg_factor`) leaves out ignored labels.
        soft_row_threshold: A soft target row (mixup, CutMix) teaches its largest class if that
            class holds at least this share of the row, in (0, 1].
        start: See `SoftLabelState`.
        empty_class: See `SoftLabelState`.
        freeze_confidence: See `SoftLabelState`.

    Raises:
        ValueError: An argument, or a label on the CPU, is outside its range.

    Example:
        >>> criterion = OLSLoss(num_classes=3)
        >>> criterion(torch.zeros(2, 3), torch.tensor([0, 2]))
        tensor(1.0986)
        >>> _ = criterion.update_soft_labels()
    """

    def __init__(
        self,
        num_classes: int,
        alpha: float = 0.5,
        use_sigmoid: bool = False,
        background: bool = False,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
        class_weight: Sequence[float] | None = None,
        ignore_index: int | None = None,
        avg_non_ignore: bool = False,
        soft_row_threshold: float = 0.8,
        start: str = 'uniform',
        empty_class: str = 'keep',
        freeze_confidence: float | None = None,
    ) -> None:
        super().__init__(num_classes, background, start, empty_class, freeze_confidence)
        if not 0 <= alpha <= 1:
            raise ValueError(
                f'`alpha`, the share of the hard loss, must be in [0, 1], but got {alpha!r}.'
            )
        if not 0 < soft_row_threshold <= 1:
            raise ValueError(
                f'`soft_row_threshold` must be in (0, 1], but got {soft_row_threshold!r}.'
            )
        check_reduction('reduction', reduction)
        if class_weight is not None and len(class_weight) != self.num_columns:
            raise ValueError(
                f'`class_weight` needs one weight for each of the {self.num_columns} score columns '
                f'(num_classes={num_classes}, background={background}), '
                f'but got {len(class_weight)}.'
            )
        if use_sigmoid and background:
            warnings.warn(
                "OLSLoss(use_sigmoid=True, background=True): MMDetection's sigmoid heads have no "
                'background column; leave `background` out unless yours does.',
                stacklevel=2,
            )
        self.alpha = alpha
        self.use_sigmoid = use_sigmoid
        self.reduction = reduction
        self.loss_weight = loss_weight
        self.class_weight = class_weight
        # A tensor that lives where the loss lives: making one in every step would synchronise.
        self.column_weight: Tensor | None
        self.register_buffer(
            'column_weight',
            None if class_weight is None else torch.tensor(class_weight, dtype=torch.float32),
            persistent=False,
        )
        self.ignore_index = ignore_index
        self.avg_non_ignore = avg_non_ignore
        self.soft_row_threshold = soft_row_threshold

    def forward(
        self,
        cls_score: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
        ignore_index: int | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Return the loss and, in training, let the correct samples teach.

        Args:
            cls_score: Logits (..., C) of any float dtype; computed in float32 at least.
            label: Class indices (...,), or target rows (..., C): one-hot, soft (mixup), scaled
                (YOLOX: times an IoU), or zero (a negative). Under sigmoid, the index C (and any
                negative index) is background: a zero row (an ignored row).
            weight: Weight of each sample, (...,) or (..., 1), or under sigmoid of each score.
                Samples of weight 0 teach nothing.
            avg_factor: Divisor of the sum instead of the number of elements ('mean' only).
            reduction_override: Replaces `reduction` in this call.
            ignore_index: Replaces the configured one in this call.
            **kwargs: Ignored; heads may pass more than a loss needs.

        Returns:
            A scalar; with reduction 'none' the element-wise losses, (...,) for softmax and
            (..., C) for sigmoid. An empty batch gives 0 with a graph.
        """
        reduction = self.reduction
        if reduction_override is not None:
            check_reduction('reduction_override', reduction_override)
            reduction = reduction_override
        if ignore_index is None:
            ignore_index = -100 if self.ignore_index is None else self.ignore_index
        self._check_shapes(cls_score, label)

        # One flat batch: (N, C) logits, (N,) or (N, C) labels, (N, 1) or (N, C) weights.
        dtype = torch.promote_types(cls_score.dtype, torch.float32)
        logits = cls_score.reshape(-1, self.num_columns).to(dtype)
        as_rows = label.dim() == cls_score.dim()
        label = label.reshape(-1, self.num_columns) if as_rows else label.reshape(-1).long()
        if weight is not None:
            weight = self._flat_weight(weight, cls_score)
        valid = label != ignore_index
        if as_rows or self.use_sigmoid:
            valid = valid & (label >= 0)
        self._check_labels(label, valid)

        foreground = (
            valid if as_rows or not self.use_sigmoid else valid & (label < self.num_columns)
        )
        target = mix_targets(label, self.soft_labels.to(dtype), self.alpha, foreground)
        if self.use_sigmoid:
            loss = binary_cross_entropy(logits, target, self.column_weight)
            loss = loss * (valid if as_rows else valid[:, None])
        else:
            loss = cross_entropy(logits, target, self.column_weight)[:, None]
        if weight is not None:
            loss = loss * weight
        if self.avg_non_ignore and avg_factor is None and reduction == 'mean':
            avg_factor = self._count_valid(valid, as_rows)
        shape = cls_score.shape if self.use_sigmoid else cls_score.shape[:-1]
        loss = self.loss_weight * reduce_loss(loss.reshape(shape), reduction, avg_factor)
        self._teach(logits, label, foreground, weight)
        return loss

    def _teach(
        self, logits: Tensor, label: Tensor, foreground: Tensor, weight: Tensor | None
    ) -> None:
        """Hand the samples that may teach to the state; see `SoftLabelState.accumulate`."""
        if not self.training:
            return
        if label.dim() == 1:
            teaches = foreground
        else:
            rows = torch.where(foreground, label, 0)
            largest, label = rows.max(-1)
            teaches = (largest > 0) & (largest >= self.soft_row_threshold * rows.sum(-1))
        teaches = teaches & (label < self.num_classes)
        if weight is not None:
            teaches = teaches & (weight != 0).any(-1)
        logits = logits.detach()
        prob = logits.sigmoid() if self.use_sigmoid else logits.softmax(-1)
        self.accumulate(logits, prob, label, teaches)

    def _count_valid(self, valid: Tensor, as_rows: bool) -> Tensor:
        count = valid.sum()
        return count * self.num_columns if self.use_sigmoid and not as_rows else count

    def _flat_weight(self, weight: Tensor, cls_score: Tensor) -> Tensor:
        if weight.dim() < cls_score.dim():
            weight = weight[..., None]
        width = weight.shape[-1] if weight.dim() else 1
        if width not in ((1, self.num_columns) if self.use_sigmoid else (1,)):
            raise ValueError(
                f'`weight` must give one weight for each sample{" or score" * self.use_sigmoid}, '
                f'but got shape {tuple(weight.shape)} for scores {tuple(cls_score.shape)}.'
            )
        return weight.float().expand(*cls_score.shape[:-1], width).reshape(-1, width)

    def _check_shapes(self, cls_score: Tensor, label: Tensor) -> None:
        columns = cls_score.shape[-1]
        if columns != self.num_columns:
            hint = f'set num_classes={columns - self.background}'
            if columns == self.num_columns + 1 and not self.use_sigmoid:
                hint = 'set background=True if the last column is the background, or else ' + hint
            raise ValueError(
                f'OLSLoss was made for {self.num_columns} score columns (num_classes='
                f'{self.num_classes}, background={self.background}), but `cls_score` has '
                f'{columns}: {hint}.'
            )
        if label.shape not in (cls_score.shape, cls_score.shape[:-1]):
            raise ValueError(
                '`label` must hold class indices of shape '
                f'{tuple(cls_score.shape[:-1])} or rows of shape {tuple(cls_score.shape)}, '
                f'but got shape {tuple(label.shape)}.'
            )
        if label.dim() < cls_score.dim() and label.is_floating_point():
            raise ValueError(f'Class indices must be integers, but `label` is {label.dtype}.')

    def _check_labels(self, label: Tensor, valid: Tensor) -> None:
        """Refuse labels out of range and rows of several classes, without synchronising a GPU."""
        if torch.compiler.is_compiling() or not len(label):
            return
        if label.dim() == 1:
            # Under sigmoid the index C is MMDetection's background; the softmax form has a column
            # for it or none.
            last = self.num_columns if self.use_sigmoid else self.num_columns - 1
            found, wrong = label, valid & ((label < 0) | (label > last))
            message = (
                f'A label must be in [0, {last}] (num_classes={self.num_classes}, background='
                f"{self.background}) or the ignore_index: set num_classes to the data set's number "
                'of classes, or mend the label.'
            )
        else:
            found = torch.where(valid, label, 0).sum(-1)
            wrong = found > 1 + 1e-3
            message = (
                'A target row must hold one class (or a mixture that sums to 1). Online label '
                'smoothing is not defined for samples of several classes: use a binary cross '
                'entropy there.'
            )
        if label.device.type == 'cpu':
            if wrong.any():
                what = 'label' if label.dim() == 1 else 'row that sums to'
                raise ValueError(f'{message} Got the {what} {found[wrong][0].item():g}.')
        elif label.is_cuda:
            torch._assert_async(~wrong.any(), message)  # seen at the next synchronisation

    def extra_repr(self) -> str:
        return (
            f'num_classes={self.num_classes}, alpha={self.alpha}, use_sigmoid={self.use_sigmoid}, '
            f'background={self.background}, reduction={self.reduction!r}, '
            f'loss_weight={self.loss_weight}'
        )
