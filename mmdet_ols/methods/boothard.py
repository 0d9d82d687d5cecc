"""Hard bootstrapping."""

from __future__ import annotations

from typing import Any

from mmdet_ols.methods.classification_losses import HeadLoss
from mmdet_ols.methods.method import loss_method


def boothard(loss: HeadLoss, *, beta: float = 0.8) -> dict[str, Any]:
    """Mix every label with the class of the highest score.

    Args:
        loss: The loss that is replaced.
        beta: Share of the given label, in [0, 1]; 1 is the plain cross entropy.
    """
    return dict(beta=beta)


METHOD = loss_method(
    boothard,
    loss='BootstrapLoss',
    fixed=dict(mode='hard'),
    source='Reed et al., Training Deep Neural Networks on Noisy Labels with Bootstrapping, '
    'ICLR workshop 2015, arXiv 1412.6596',
)
