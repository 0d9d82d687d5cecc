"""Pictures made from plain numbers: soft labels, targets, embeddings.

Nothing here knows a run, a model or a data set, so that hooks can draw as well as tools.
"""

from mmdet_ols.visualization.embeddings import draw_embeddings
from mmdet_ols.visualization.soft_labels import (
    MAX_VALUES,
    column_names,
    draw_soft_labels,
    matching_names,
    save_soft_labels,
)
from mmdet_ols.visualization.targets import save_target, targets_of_class
from mmdet_ols.visualization.texts import drawn_texts, hosts_texts

__all__ = [
    'MAX_VALUES',
    'column_names',
    'draw_embeddings',
    'draw_soft_labels',
    'drawn_texts',
    'hosts_texts',
    'matching_names',
    'save_soft_labels',
    'save_target',
    'targets_of_class',
]
