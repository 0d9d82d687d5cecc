"""What a loss refuses: options that do not fit together, and calls of another shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from mmdet_ols.core.compat import is_compiling


class Loss(Protocol):
    """What the checks have to know of a loss."""

    num_classes: int
    num_columns: int
    background: bool
    use_sigmoid: bool


def check_class_weight(
    class_weight: Sequence[float] | None, num_classes: int, background: bool
) -> None:
    """Raise a ValueError unless there is one weight for each score column, or none at all."""
    if isinstance(class_weight, (int, float)):
        raise ValueError(
            f'`class_weight` must hold a weight for each column, but got {class_weight!r}: '
            'use loss_weight to weight all of them alike.'
        )
    columns = num_classes + 1 if background else num_classes
    if class_weight is not None and len(class_weight) != columns:
        raise ValueError(
            f'`class_weight` needs one weight for each of the {columns} score columns '
            f'(num_classes={num_classes}, background={background}), but got {len(class_weight)}.'
        )


def check_focal_form(gamma: float, balance: float | None, use_sigmoid: bool) -> None:
    """Raise a ValueError where the options of the focal form are out of range or meaningless."""
    if gamma < 0:
        raise ValueError(f'`gamma` must not be negative, but got {gamma!r}.')
    if balance is not None and not 0 <= balance <= 1:
        raise ValueError(f'`balance` must be None or in [0, 1], but got {balance!r}.')
    if (gamma or balance is not None) and not use_sigmoid:
        raise ValueError(
            '`gamma` and `balance` belong to the focal form, which is defined for sigmoid '
            f'scores: set use_sigmoid=True, or leave gamma={gamma!r}, balance={balance!r} out.'
        )


def check_shapes(loss: Loss, cls_score: Tensor, label: Any) -> None:
    """Refuse scores and labels of another shape than a loss was made for.

    Raises:
        TypeError: `label` is no tensor.
        ValueError: The shapes do not fit, or class indices are no integers.
    """
    name = type(loss).__name__
    if not isinstance(label, Tensor):
        raise TypeError(
            f'`label` must be a tensor, but got a {type(label).__name__}: heads made for '
            "MMDetection's QualityFocalLoss (GFL, RTMDet) send labels and qualities together, "
            f'for which {name} has no meaning. Keep their own loss.'
        )
    columns = cls_score.shape[-1]
    if columns != loss.num_columns:
        hint = f'set num_classes={columns - 1 if loss.background else columns}'
        if columns == loss.num_columns + 1 and not loss.use_sigmoid:
            hint = 'set background=True if the last column is the background, or else ' + hint
        raise ValueError(
            f'{name} was made for {loss.num_columns} score columns (num_classes='
            f'{loss.num_classes}, background={loss.background}), but `cls_score` has '
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


def check_labels(loss: Loss, label: Tensor, valid: Tensor) -> None:
    """Refuse labels out of range and rows of several classes, without synchronising a GPU."""
    if is_compiling() or not len(label):
        return
    on_cpu = label.device.type == 'cpu'
    if label.dim() == 1:
        # Under sigmoid the index C is MMDetection's background; the softmax form has a column
        # for it or none.
        last = loss.num_columns if loss.use_sigmoid else loss.num_columns - 1
        # Where nothing is ignored, the extremes say it all in a fifth of the time.
        if on_cpu and label.min().item() >= 0 and label.max().item() <= last:
            return
        values, wrong = label, valid & ((label < 0) | (label > last))
        message = (
            f'A label must be in [0, {last}] (num_classes={loss.num_classes}, background='
            f"{loss.background}) or the ignore_index: set num_classes to the data set's number "
            'of classes, or correct the label.'
        )
    else:
        values = torch.where(valid, label, 0).sum(-1)
        wrong = values > 1 + 1e-3
        message = (
            'A target row must hold one class (or a mixture that sums to 1). '
            f'{type(loss).__name__} is not defined for samples of several classes: use a '
            'binary cross entropy there.'
        )
    if on_cpu:
        if wrong.any():
            what = 'label' if label.dim() == 1 else 'row that sums to'
            raise ValueError(f'{message} Got the {what} {values[wrong][0].item():g}.')
    elif label.is_cuda:
        torch._assert_async(~wrong.any(), message)  # seen at the next synchronisation
