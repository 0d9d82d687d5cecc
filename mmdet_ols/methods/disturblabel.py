"""DisturbLabel."""

from __future__ import annotations

from typing import Any

from mmdet_ols.methods.classification_losses import HeadLoss
from mmdet_ols.methods.method import loss_method


def disturblabel(loss: HeadLoss, *, rate: float = 0.1) -> dict[str, Any]:
    """Replace a share of the labels at random, again in every step.

    Args:
        loss: The loss that is replaced.
        rate: The share of samples whose label is redrawn, in [0, 1].
    """
    return dict(rate=rate)


METHOD = loss_method(
    disturblabel,
    loss='DisturbLabelLoss',
    source='Xie et al., DisturbLabel, CVPR 2016, arXiv 1605.00055',
)
