"""What heads of any shape pass to their loss, as one flat batch of samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmdet_ols.core import label_rows
from mmdet_ols.losses.checks import Loss, check_shapes


def flat_batch(
    loss: Loss, cls_score: Tensor, label: Any, weight: Any
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the arguments of a call (see `ClassificationLoss.forward`) as a flat batch.

    Returns:
        Logits (N, C); labels, indices (N,) or rows (N, C); weights (N, 1) or (N, C), or None.

    Raises:
        TypeError: One of them is no tensor.
        ValueError: The shapes do not fit, scores are no floats, or class indices are no integers.
    """
    if loss.quality_beta is not None and not isinstance(label, Tensor):
        label = quality_rows(loss, cls_score, label)
    check_shapes(loss, cls_score, label)
    logits = cls_score if cls_score.dim() == 2 else cls_score.reshape(-1, loss.num_columns)
    as_rows = label.dim() == cls_score.dim()
    label = label.reshape(-1, loss.num_columns) if as_rows else label.reshape(-1).long()
    return logits, label, None if weight is None else flat_weight(loss, weight, cls_score)


def quality_rows(loss: Loss, cls_score: Tensor, label: Any) -> Tensor:
    """Return labels with qualities as target rows, with the quality in the column of the class.

    Args:
        loss: The loss that was called.
        cls_score: (..., C).
        label: Class indices and qualities in [0, 1], (...,) each. Any index that is no class is
            background, as in MMDetection's `QualityFocalLoss`.

    Returns:
        (..., C), float32 or wider.

    Raises:
        ValueError: `label` is something else.
    """
    parts = label if isinstance(label, (tuple, list)) else [label]
    shapes = [tuple(part.shape) for part in parts if isinstance(part, Tensor)]
    wanted = tuple(cls_score.shape[:-1])
    if shapes != [wanted, wanted] or parts[0].is_floating_point():
        raise ValueError(
            f'`label` of the quality focal form must be two tensors of shape {wanted}, class '
            f'indices and qualities, or one of target rows, but got {_described(parts)}: pass '
            'them as (labels, qualities).'
        )
    index, quality = (part.flatten() for part in parts)
    quality = quality.to(torch.promote_types(quality.dtype, torch.float32))
    is_class = (index >= 0) & (index < loss.num_columns)
    rows = label_rows(index.long(), loss.num_columns, is_class, quality.dtype)
    return (rows * quality[:, None]).reshape(cls_score.shape)


def _described(parts: Sequence[Any]) -> str:
    return ' and '.join(
        f'{part.dtype} of shape {tuple(part.shape)}'
        if isinstance(part, Tensor)
        else type(part).__name__
        for part in parts
    )


def flat_weight(loss: Loss, weight: Any, cls_score: Tensor) -> Tensor:
    """Return weights as a column or, for a weight of every score (under sigmoid only), as rows.

    Raises:
        TypeError: They are no tensor.
        ValueError: The shape does not fit.
    """
    if not isinstance(weight, Tensor):
        raise TypeError(
            f'`weight` must be a tensor, but got a {type(weight).__name__}: pass '
            'torch.as_tensor(weight, device=cls_score.device).'
        )
    if weight.shape in (cls_score.shape[:-1], (*cls_score.shape[:-1], 1)):
        return weight.float().reshape(-1, 1)
    # One for every score, as rows or flat: FSAF's head sends the latter.
    if loss.use_sigmoid and weight.numel() == cls_score.numel():
        return weight.float().reshape(-1, loss.num_columns)
    each = 'sample or score' if loss.use_sigmoid else 'sample'
    hint = ''
    if weight.shape == (loss.num_columns,):
        hint = ': weights of the classes are `class_weight` of the constructor'
    raise ValueError(
        f'`weight` must give one weight for each {each}, '
        f'but got shape {tuple(weight.shape)} for scores {tuple(cls_score.shape)}{hint}.'
    )
