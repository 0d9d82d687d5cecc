"""Uniform label smoothing."""

from __future__ import annotations

from typing import Any

from mmdet_ols.methods.classification_losses import HeadLoss
from mmdet_ols.methods.method import loss_method


def ls(loss: HeadLoss, *, epsilon: float = 0.1) -> dict[str, Any]:
    """Spread a share of every label evenly over all classes.

    Args:
        loss: The loss that is replaced.
        epsilon: The share, in [0, 1].
    """
    return dict(epsilon=epsilon)


METHOD = loss_method(
    ls,
    loss='LSLoss',
    source='Szegedy et al., Rethinking the Inception Architecture, CVPR 2016, arXiv 1512.00567',
)
