"""The config in a run's folder is whole: the hosts' own train.py trains the same with it."""

from __future__ import annotations

import runpy
from pathlib import Path

import mmdet
import mmpretrain
import numpy as np
import torch
from PIL import Image
from torch.testing import assert_close

from mmdet_ols import config_path
from mmdet_ols.cli import train
from mmdet_ols.datasets.demo_voc import make_demo_voc

NUM_IMAGES = {'VOC2007/trainval': 2, 'VOC2012/trainval': 2, 'VOC2007/test': 1}
#: What makes a run short and, on one machine, the same again.
COMMON = (
    'train_cfg.max_epochs=1', 'train_dataloader.num_workers=0',
    'randomness.seed=0', 'train_dataloader.batch_size=4', 'val_dataloader=None', 'val_cfg=None',
    'val_evaluator=None', 'test_dataloader=None', 'test_cfg=None', 'test_evaluator=None',
)  # fmt: skip
CLASSIFIER = """
_base_ = 'mmpretrain::_base_/default_runtime.py'
model = dict(
    type='ImageClassifier',
    backbone=dict(type='LeNet5'),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=2, in_channels=120),
    data_preprocessor=dict(mean=[0], std=[255], to_rgb=False),
)
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CustomDataset',
        data_root='nowhere',
        pipeline=[dict(type='LoadImageFromFile', color_type='grayscale'), dict(type='PackInputs')],
    ),
)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01))
train_cfg = dict(by_epoch=True, max_epochs=1)
"""


def hosts_train(host):
    path = Path(host.__file__).parent / '.mim/tools/train.py'
    return lambda: runpy.run_path(str(path), run_name='__main__')


def weights(folder):
    checkpoint = torch.load(folder / 'epoch_1.pth', weights_only=False)
    return checkpoint['state_dict']


def both_train_the_same(command, host, config, tmp_path, *options):
    ours, theirs = tmp_path / 'ours', tmp_path / 'theirs'
    command(train.main, config, '--work-dir', ours, *options)
    dumped = ours / Path(config).name
    command(hosts_train(host), dumped, '--work-dir', theirs)
    assert_close(weights(theirs), weights(ours), rtol=0, atol=0)


def test_mmdetection_trains_it(command, tmp_path):
    make_demo_voc(tmp_path / 'demo', num_images=NUM_IMAGES)
    options = (
        '--data-root', tmp_path / 'demo', '--cfg-options', *COMMON, 'channels_last=False',
        'train_dataloader.persistent_workers=False',
    )  # fmt: skip
    config = config_path('yolo_ols_demo.py')
    both_train_the_same(command, mmdet, config, tmp_path, *options)


def test_mmpretrain_trains_it(command, tmp_path):
    rng = np.random.default_rng(0)
    for name in 'ab':
        (tmp_path / 'data' / name).mkdir(parents=True)
        for index in range(4):
            pixels = rng.integers(0, 256, (32, 32), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / 'data' / name / f'{index}.png')
    config = tmp_path / 'lenet.py'
    config.write_text(CLASSIFIER)
    options = ('--data-root', tmp_path / 'data', '--cfg-options', *COMMON)
    both_train_the_same(command, mmpretrain, config, tmp_path, *options)
