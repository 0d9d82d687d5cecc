"""Images without files, and the config of a classification run on them."""

from __future__ import annotations

import numpy as np
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS


@DATASETS.register_module()
class Arrays(BaseDataset):
    """As MMPretrain's CIFAR and MNIST: no files."""

    def __init__(self, labels, **kwargs):
        self.labels = labels
        super().__init__(serialize_data=False, **kwargs)  # that collects garbage for seconds

    def load_data_list(self):
        return [
            dict(img=np.full((4, 4, 3), level, dtype=np.uint8), gt_label=label)
            for level, label in enumerate(self.labels)
        ]

    def get_cat_ids(self, idx):
        return [self.get_data_info(idx)['gt_label']]


def arrays(labels):
    part = dict(type='Arrays', labels=labels, pipeline=[dict(type='PackInputs')])
    concat = dict(type='ConcatDataset', datasets=[part, dict(part, labels=labels[:2])])
    return Config(
        dict(
            default_scope='mmpretrain',
            model=dict(type='Brightness'),
            train_dataloader=dict(batch_size=2, dataset=concat),
        )
    )
