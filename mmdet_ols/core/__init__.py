"""Torch and the standard library only: the rolling states and the maths of the losses."""

from mmdet_ols.core.cross_entropy import (
    binary_cross_entropy,
    binary_focal_loss,
    cross_entropy,
    label_rows,
    mix_targets,
    quality_focal_loss,
    smooth_targets,
)
from mmdet_ols.core.fused import (
    CannotCompileError,
    can_fuse,
    can_fuse_on_gpu,
    compiled_library,
    fused_cross_entropy,
    fused_cross_entropy_on_gpu,
    has_fused_step,
    has_triton,
)
from mmdet_ols.core.prediction_bank import PredictionBank
from mmdet_ols.core.reduction import REDUCTIONS, reduce_loss
from mmdet_ols.core.rolling_state import (
    RollingState,
    find_states,
    rename_old_keys,
    state_name,
    state_paths,
)
from mmdet_ols.core.sample_state import SampleState, sample_numbers
from mmdet_ols.core.samples import Samples
from mmdet_ols.core.score_columns import count_columns
from mmdet_ols.core.soft_labels import SUMS, RollOver, SoftLabels, SoftLabelState, may_select
from mmdet_ols.core.sparse_soft_labels import SparseSoftLabels, dense_soft_labels
from mmdet_ols.core.teaching import no_teaching, teaching_allowed
from mmdet_ols.core.transforms import hides_values, is_transformed, learn_under_transforms

__all__ = [
    'REDUCTIONS',
    'SUMS',
    'CannotCompileError',
    'PredictionBank',
    'RollOver',
    'RollingState',
    'SampleState',
    'Samples',
    'SoftLabelState',
    'SoftLabels',
    'SparseSoftLabels',
    'binary_cross_entropy',
    'binary_focal_loss',
    'can_fuse',
    'can_fuse_on_gpu',
    'compiled_library',
    'count_columns',
    'cross_entropy',
    'dense_soft_labels',
    'find_states',
    'fused_cross_entropy',
    'fused_cross_entropy_on_gpu',
    'has_fused_step',
    'has_triton',
    'hides_values',
    'is_transformed',
    'label_rows',
    'learn_under_transforms',
    'may_select',
    'mix_targets',
    'no_teaching',
    'quality_focal_loss',
    'reduce_loss',
    'rename_old_keys',
    'sample_numbers',
    'smooth_targets',
    'state_name',
    'state_paths',
    'teaching_allowed',
]
