"""What a classification loss refuses to be called with, and the messages about it."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Loss(Protocol):
    """What the checks have to know of a loss."""

    num_classes: int
    num_columns: int
    background: bool
    use_sigmoid: bool


def check_shapes(loss: Loss, cls_score: Tensor, label: Tensor) -> None:
    """Refuse scores and labels whose shapes do not fit a loss or each other."""
    if not isinstance(label, Tensor):
        raise TypeError(
            f'`label` must be a tensor, but got a {type(label).__name__}: heads made for '
            "MMDetection's QualityFocalLoss (GFL, RTMDet) send labels and qualities together, "
            f'for which {type(loss).__name__} has no meaning. Keep their own loss.'
        )
    columns = cls_score.shape[-1]
    if columns != loss.num_columns:
        hint = f'set num_classes={columns - loss.background}'
        if columns == loss.num_columns + 1 and not loss.use_sigmoid:
            hint = 'set background=True if the last column is the background, or else ' + hint
        raise ValueError(
            f'{type(loss).__name__} was made for {loss.num_columns} score columns (num_classes='
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
    if torch.compiler.is_compiling() or not len(label):
        return
    if label.dim() == 1:
        # Under sigmoid the index C is MMDetection's background; the softmax form has a column
        # for it or none.
        last = loss.num_columns if loss.use_sigmoid else loss.num_columns - 1
        values, wrong = label, valid & ((label < 0) | (label > last))
        message = (
            f'A label must be in [0, {last}] (num_classes={loss.num_classes}, background='
            f"{loss.background}) or the ignore_index: set num_classes to the data set's number "
            'of classes, or mend the label.'
        )
    else:
        values = torch.where(valid, label, 0).sum(-1)
        wrong = values > 1 + 1e-3
        message = (
            'A target row must hold one class (or a mixture that sums to 1). '
            f'{type(loss).__name__} is not defined for samples of several classes: use a '
            'binary cross entropy there.'
        )
    if label.device.type == 'cpu':
        if wrong.any():
            what = 'label' if label.dim() == 1 else 'row that sums to'
            raise ValueError(f'{message} Got the {what} {values[wrong][0].item():g}.')
    elif label.is_cuda:
        torch._assert_async(~wrong.any(), message)  # seen at the next synchronisation
