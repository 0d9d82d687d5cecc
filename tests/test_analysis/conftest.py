"""The data whose annotations are read and predicted."""

from __future__ import annotations

import pytest
from mmengine.config import Config

from mmdet_ols.datasets.demo_voc import CLASSES, make_demo_voc


@pytest.fixture(scope='module')
def cfg(tmp_path_factory):
    """A repeated and mixed data set over both years, with augmentation."""
    root = tmp_path_factory.mktemp('data') / 'demo'
    counts = {'VOC2007/trainval': 6, 'VOC2012/trainval': 4, 'VOC2007/test': 2}
    make_demo_voc(root, counts, wrong_labels=0.2, workers=1)
    pack = dict(type='PackDetInputs', meta_keys=('img_path', 'ori_shape'))
    load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)]
    parts = [
        dict(
            type='XMLDataset',
            data_root=str(root),
            ann_file=f'{year}/ImageSets/Main/trainval.txt',
            data_prefix=dict(sub_data_root=f'{year}/'),
            metainfo=dict(classes=CLASSES),
            pipeline=[*load, dict(type='RandomFlip', prob=1.0), dict(type='PackDetInputs')],
        )
        for year in ('VOC2007', 'VOC2012')
    ]
    concat = dict(type='ConcatDataset', datasets=parts)
    test = dict(
        parts[0],
        ann_file='VOC2007/ImageSets/Main/test.txt',
        pipeline=[*load, pack],
        test_mode=True,
    )
    return Config(
        dict(
            default_scope='mmdet',
            model=dict(type='StubDetector', test_cfg=dict(score_thr=0.3, max_per_img=10)),
            train_dataloader=dict(dataset=dict(type='RepeatDataset', times=3, dataset=concat)),
            test_dataloader=dict(batch_size=3, dataset=test),
        )
    )
