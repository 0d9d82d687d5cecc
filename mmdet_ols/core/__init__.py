"""Torch and the standard library only: the soft-label state and the maths of the losses."""

from mmdet_ols.core.cross_entropy import binary_cross_entropy, cross_entropy, mix_targets
from mmdet_ols.core.reduction import reduce_loss
from mmdet_ols.core.soft_labels import SUMS, SoftLabelState

__all__ = [
    'SUMS',
    'SoftLabelState',
    'binary_cross_entropy',
    'cross_entropy',
    'mix_targets',
    'reduce_loss',
]
