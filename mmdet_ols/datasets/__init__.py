"""Data sets and wrappers that only this project needs, and transforms for them.

The demo data set and the reader of VOC's annotations are imported from their own modules, because
they need more libraries. `tree.py` walks through nested data sets.
"""

from mmdet_ols.datasets.aircraft import FGVCAircraft90
from mmdet_ols.datasets.balanced_subset import BalancedSubset
from mmdet_ols.datasets.batch_transforms import (
    BatchCutOut,
    BatchRandomCrop,
    BatchRandomFlip,
    BatchTransform,
)
from mmdet_ols.datasets.clean_part import CleanPartDataset
from mmdet_ols.datasets.cut_out_square import CutOutSquare
from mmdet_ols.datasets.in_memory import InMemoryDataset, whole_batch_collate
from mmdet_ols.datasets.label_file import LabelFileDataset
from mmdet_ols.datasets.noisy_labels import NoisyLabelDataset
from mmdet_ols.datasets.numbered import NumberedDataset
from mmdet_ols.datasets.two_views import TwoViewDataset

__all__ = [
    'BalancedSubset',
    'BatchCutOut',
    'BatchRandomCrop',
    'BatchRandomFlip',
    'BatchTransform',
    'CleanPartDataset',
    'CutOutSquare',
    'FGVCAircraft90',
    'InMemoryDataset',
    'LabelFileDataset',
    'NoisyLabelDataset',
    'NumberedDataset',
    'TwoViewDataset',
    'whole_batch_collate',
]
