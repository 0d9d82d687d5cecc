"""Torch and the standard library only: the soft-label state and the maths of the losses."""

from mmdet_ols.core.cross_entropy import (
    binary_cross_entropy,
    binary_focal_loss,
    cross_entropy,
    label_rows,
    mix_targets,
    smooth_targets,
)
from mmdet_ols.core.fused_cross_entropy import (
    CannotCompileError,
    can_fuse,
    compiled_library,
    fused_cross_entropy,
)
from mmdet_ols.core.prediction_bank import PredictionBank
from mmdet_ols.core.reduction import check_reduction, reduce_loss
from mmdet_ols.core.score_columns import ScoreColumns
from mmdet_ols.core.soft_labels import SUMS, SoftLabelState, may_select
from mmdet_ols.core.sparse_soft_labels import SparseSoftLabels, dense_soft_labels

__all__ = [
    'SUMS',
    'CannotCompileError',
    'PredictionBank',
    'ScoreColumns',
    'SoftLabelState',
    'SparseSoftLabels',
    'binary_cross_entropy',
    'binary_focal_loss',
    'can_fuse',
    'check_reduction',
    'compiled_library',
    'cross_entropy',
    'dense_soft_labels',
    'fused_cross_entropy',
    'label_rows',
    'may_select',
    'mix_targets',
    'reduce_loss',
    'smooth_targets',
]
