"""Reading what a run has left: its soft labels, annotations and features, and the report."""

from mmdet_ols.analysis.soft_labels import (
    ConfusedPair,
    confused_pairs,
    group_contrast,
    soft_labels_in_checkpoint,
    table_of_pairs,
)

__all__ = [
    'ConfusedPair',
    'confused_pairs',
    'group_contrast',
    'soft_labels_in_checkpoint',
    'table_of_pairs',
]
