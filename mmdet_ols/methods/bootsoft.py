"""Soft bootstrapping."""

from __future__ import annotations

from typing import Any

from mmdet_ols.methods.classification_losses import HeadLoss
from mmdet_ols.methods.method import loss_method


def bootsoft(loss: HeadLoss, *, beta: float = 0.95, detach_target: bool = False) -> dict[str, Any]:
    """Mix every label with the prediction itself.

    Args:
        loss: The loss that is replaced.
        beta: Share of the given label, in [0, 1]; 1 is the plain cross entropy.
        detach_target: Whether no gradient flows through the prediction in the target; it does in
            the code of the authors of OLS.
    """
    return dict(beta=beta, detach_target=detach_target)


METHOD = loss_method(
    bootsoft,
    loss='BootstrapLoss',
    fixed=dict(mode='soft'),
    source='Reed et al., Training Deep Neural Networks on Noisy Labels with Bootstrapping, '
    'ICLR workshop 2015, arXiv 1412.6596',
)
