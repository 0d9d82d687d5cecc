"""Symmetric cross entropy."""

from __future__ import annotations

from typing import Any

from mmdet_ols.methods.classification_losses import HeadLoss
from mmdet_ols.methods.method import loss_method


def sce(
    loss: HeadLoss, *, alpha: float = 6.0, beta: float = 0.1, label: str = 'exact'
) -> dict[str, Any]:
    """Add the reverse cross entropy, which is robust to wrong labels.

    The defaults are the original's for CIFAR-100, which the authors of OLS take for all data but
    CIFAR-10; for CIFAR-10 both take `alpha=0.1,beta=1.0`. An `alpha` of 6 multiplies the gradient
    of the cross entropy by 6, so that a learning rate that suits hard labels may be too high.

    Args:
        loss: The loss that is replaced.
        alpha: Weight of the cross entropy.
        beta: Weight of the reverse cross entropy.
        label: How the label enters the cross entropy: 'exact', or 'clamped' as in the code of the
            authors of OLS.
    """
    return dict(alpha=alpha, beta=beta, label=label)


METHOD = loss_method(
    sce,
    loss='SCELoss',
    source='Wang et al., Symmetric Cross Entropy for Robust Learning with Noisy Labels, '
    'ICCV 2019, arXiv 1908.06112',
)
