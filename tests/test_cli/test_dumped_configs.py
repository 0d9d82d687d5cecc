"""The config in a run's folder is whole: the hosts' own train.py trains the same with it."""

from __future__ import annotations

from pathlib import Path

import mmdet
import mmpretrain
from hosts_tools import hosts_train, weights
from torch.testing import assert_close
from toy_lenet import write_lenet

from mmdet_ols import config_path
from mmdet_ols.cli import train
from mmdet_ols.datasets.demo_voc import make_demo_voc

NUM_IMAGES = {'VOC2007/trainval': 2, 'VOC2012/trainval': 2, 'VOC2007/test': 1}


def both_train_the_same(command, host, config, tmp_path, *options):
    ours, theirs = tmp_path / 'ours', tmp_path / 'theirs'
    command(train.main, config, '--work-dir', ours, *options)
    dumped = ours / Path(config).name
    command(hosts_train(host), dumped, '--work-dir', theirs)
    assert_close(weights(theirs), weights(ours), rtol=0, atol=0)


def test_mmdetection_trains_it(command, tmp_path):
    make_demo_voc(tmp_path / 'demo', num_images=NUM_IMAGES)
    options = (
        '--data-root', tmp_path / 'demo', '--cfg-options', 'train_cfg.max_epochs=1',
        'train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False',
        'train_dataloader.batch_size=4', 'val_dataloader=None', 'val_cfg=None',
        'val_evaluator=None', 'channels_last=False',
    )  # fmt: skip
    config = config_path('yolo_ols_demo.py')
    both_train_the_same(command, mmdet, config, tmp_path, *options)


def test_mmpretrain_trains_it(command, tmp_path):
    config, data = write_lenet(tmp_path)
    both_train_the_same(command, mmpretrain, config, tmp_path, '--data-root', data)
