"""Cross entropy against the target that mixes the hard label with its class's soft label.

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
        index = torch.where(valid, label, 0)
        target = soft_labels.index_select(0, index) * (1 - alpha)
        target = target.scatter_add(1, index[:, None], target.new_full((len(index), 1), alpha))
        return torch.where(valid[:, None], target, 0)
    rows = torch.where(valid, label, 0).to(soft_labels.dtype)
    # Autocast would compute the product in half precision and blur the soft labels.
    with torch.autocast(rows.device.type, enabled=False):
        return alpha * rows + (1 - alpha) * (rows @ soft_labels)


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
