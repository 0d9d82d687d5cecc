"""A data set of MMPretrain whose images tell which sample they are."""

from __future__ import annotations

import numpy as np
from mmpretrain.datasets import BaseDataset, MultiLabelDataset  # noqa: F401
from mmpretrain.registry import DATASETS, TRANSFORMS

from mmdet_ols import NoisyLabelDataset

CLASSES = ('ant', 'bee', 'cat', 'dog', 'elk')


@TRANSFORMS.register_module()
class DrawIndex:
    """An image that tells which sample it is."""

    def __call__(self, results):
        results['img'] = np.full((2, 2, 3), results['sample_idx'] % 256, np.uint8)
        return results


@DATASETS.register_module()
class Numbers(BaseDataset):
    """Sample i is of class i mod 5, or of what `label` says."""

    def __init__(self, count=100, label=None, classes=CLASSES):
        self.count, self.label = count, label
        super().__init__(
            '',
            classes=classes,
            pipeline=[dict(type='DrawIndex'), dict(type='PackInputs')],
            serialize_data=False,  # that collects garbage for a second
        )

    def load_data_list(self):
        labels = [index % 5 if self.label is None else self.label for index in range(self.count)]
        return [dict(gt_label=label) for label in labels]


def noisy(rate, count=100, **kwargs):
    return NoisyLabelDataset(dict(type='Numbers', count=count), rate, **kwargs)
