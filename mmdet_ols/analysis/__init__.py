"""Reading a finished run."""

from mmdet_ols.analysis.soft_labels import (
    ConfusedPair,
    confused_pairs,
    draw_soft_labels,
    fitting_names,
    group_contrast,
    save_soft_labels,
    save_target,
    soft_labels_in_checkpoint,
    table_of_pairs,
)

__all__ = [
    'ConfusedPair',
    'confused_pairs',
    'draw_soft_labels',
    'fitting_names',
    'group_contrast',
    'save_soft_labels',
    'save_target',
    'soft_labels_in_checkpoint',
    'table_of_pairs',
]
