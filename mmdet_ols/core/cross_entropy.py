"""Cross entropies against soft targets, and the targets that mix hard and soft labels.

The paper's loss, alpha * hard + (1 - alpha) * soft (Eq. 4), is linear in the target. So it is one
cross entropy against one mixed target: one pass over the logits instead of two.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def mix_targets(label: Tensor, soft_labels: Tensor, alpha: float, valid: Tensor) -> Tensor:
    """T = alpha * t + (1 - alpha) * t @ S for every sample.

    Args:
        label: Class indices (N,) in [0, C), or target rows (N, C) (one-hot, soft, or zero).
        soft_labels: S (C, C); row y is the soft label of class y.
        alpha: Share of the hard label, in [0, 1].
        valid: Bool. For indices (N,): False gives a zero row, whatever the index. For rows
            (N, C): entries that are False count as 0.

    Returns:
        Targets (N, C) in the dtype of `soft_labels`.
    """
    if label.dim() == 1:
        index = label * valid
        target = soft_labels.index_select(0, index) * (1 - alpha)
        target.scatter_add_(1, index[:, None], target.new_full((len(index), 1), alpha))
        return target * valid[:, None]
    rows = torch.where(valid, label, 0).to(soft_labels.dtype)
    # Autocast would compute the product in half precision and blur the soft labels.
    with torch.autocast(rows.device.type, enabled=False):
        return alpha * rows + (1 - alpha) * (rows @ soft_labels)


def label_rows(label: Tensor, num_columns: int, valid: Tensor, dtype: torch.dtype) -> Tensor:
    """Labels of either form as target rows (N, C).

    Args:
        label: As in `mix_targets`.
        num_columns: C.
        valid: As in `mix_targets`.
        dtype: Of the result.
    """
    if label.dim() == 1:
        index = torch.where(valid, label, 0)[:, None]
        rows = torch.zeros(len(label), num_columns, dtype=dtype, device=label.device)
        return rows.scatter(1, index, valid.to(dtype)[:, None])
    return torch.where(valid, label, 0).to(dtype)


def smooth_targets(
    label: Tensor, num_columns: int, epsilon: float, valid: Tensor, dtype: torch.dtype
) -> Tensor:
    """T = (1 - epsilon) * t + epsilon / C * sum(t) for every sample: uniform label smoothing.

    Args:
        label: As in `mix_targets`.
        num_columns: C.
        epsilon: Share that is spread over all columns, in [0, 1].
        valid: As in `mix_targets`.
        dtype: Of the result.

    Returns:
        Targets (N, C).
    """
    rows = label_rows(label, num_columns, valid, dtype)
    return (1 - epsilon) * rows + epsilon / num_columns * rows.sum(1, keepdim=True)


def cross_entropy(logits: Tensor, target: Tensor, class_weight: Tensor | None = None) -> Tensor:
    """Softmax cross entropy against target rows.

    Args:
        logits: (N, C) float32.
        target: (N, C) rows; a zero row costs nothing.
        class_weight: (C,) weight of each column, as `torch.nn.functional.cross_entropy` has it.

    Returns:
        Loss of each sample, (N,).
    """
    if class_weight is not None:
        target = target * class_weight
    # Where the target is 0, a class that is masked out by a logit of -inf costs 0, not 0 * inf.
    log_prob = logits.log_softmax(-1).masked_fill(target == 0, 0)
    return -(target * log_prob).sum(-1)


def binary_cross_entropy(
    logits: Tensor, target: Tensor, class_weight: Tensor | None = None
) -> Tensor:
    """Sigmoid cross entropy of each score against target rows.

    Args:
        logits: (N, C) float32.
        target: (N, C) rows; a zero row pulls every score down.
        class_weight: (C,) weight of the positive part of each column (`pos_weight` of PyTorch and
            the meaning that MMDetection gives to `class_weight` under sigmoid).

    Returns:
        Loss of each score, (N, C).
    """
    return F.binary_cross_entropy_with_logits(
        logits, target, pos_weight=class_weight, reduction='none'
    )


def binary_focal_loss(
    logits: Tensor,
    target: Tensor,
    gamma: float,
    balance: float | None = None,
    class_weight: Tensor | None = None,
) -> Tensor:
    """Focal form of `binary_cross_entropy`: scores that are right already count for less.

    T * b * (1 - p)^gamma * -log(p) + (1 - T) * (1 - b) * p^gamma * -log(1 - p), with p the sigmoid
    score. For targets of 0 and 1 it is the loss of `Focal Loss for Dense Object Detection
    <https://arxiv.org/abs/1708.02002>`_ (Eq. 5), and between them linear, so that a mixed target
    costs what its parts cost. MMDetection's own is not linear there.

    Args:
        logits: (N, C) float32.
        target: (N, C) rows; a zero row pulls every score down.
        gamma: Focusing exponent, at least 0.
        balance: b, the factor of the positive part, in [0, 1] (the focal paper's alpha); None
            leaves both factors at 1.
        class_weight: (C,) weight of the positive part of each column.

    Returns:
        Loss of each score, (N, C).
    """
    log_p, log_not_p = F.logsigmoid(logits), F.logsigmoid(-logits)
    # As powers of logarithms: the gradient of (1 - p)^gamma is not finite where it rounds to 0.
    positive = -target * (gamma * log_not_p).exp() * log_p
    negative = -(1 - target) * (gamma * log_p).exp() * log_not_p
    if class_weight is not None:
        positive = positive * class_weight
    if balance is not None:
        positive, negative = balance * positive, (1 - balance) * negative
    return positive + negative


def quality_focal_loss(
    logits: Tensor, target: Tensor, beta: float, class_weight: Tensor | None = None
) -> Tensor:
    """Quality focal form of `binary_cross_entropy`: scores that are near their target count less.

    |T - p|^beta * BCE(p, T), with p the sigmoid score. For a target that is the quality of a box in
    the column of its class, and 0 elsewhere, it is the loss of `Generalized Focal Loss
    <https://arxiv.org/abs/2006.04388>`_ (Eq. 5).

    Args:
        logits: (N, C) float32.
        target: (N, C) rows; a zero row pulls every score down.
        beta: Exponent, at least 0.
        class_weight: (C,) weight of the positive part of each column.

    Returns:
        Loss of each score, (N, C).
    """
    # At 0 the gradient of a power below 1 is not finite.
    distance = (target - logits.sigmoid()).abs().clamp(min=torch.finfo(logits.dtype).tiny)
    return distance**beta * binary_cross_entropy(logits, target, class_weight)
