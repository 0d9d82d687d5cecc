"""The config in a run's folder is whole: the hosts' own train.py trains the same with it."""

from __future__ import annotations

from pathlib import Path

import mmdet
import mmpretrain
from hosts_tools import hosts_train, weights
from torch.testing import assert_close
from toy_classifier import make_classifier
from toy_lenet import write_lenet

from mmdet_ols import config_path
from mmdet_ols.cli import test, train
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


def test_a_test_in_the_folder_of_its_training_leaves_the_config_there(command, tmp_path):
    config, folder = make_classifier(tmp_path), tmp_path / 'run'
    command(train.main, config, '--work-dir', folder)
    dumped = (folder / 'ce.py').read_text()
    for _ in range(2):
        command(test.main, config, folder / 'epoch_1.pth', '--work-dir', folder, '--tta')
    assert (folder / 'ce.py').read_text() == dumped
    assert 'AverageClsScoreTTA' in (folder / 'ce_test.py').read_text()


def test_a_config_that_a_resumed_run_dumped_says_that_it_goes_on(command, tmp_path):
    config, folder = make_classifier(tmp_path), tmp_path / 'run'
    command(train.main, config, '--work-dir', folder)
    longer = ['--cfg-options', 'train_cfg.max_epochs=2']
    resumed = ['--resume', folder / 'epoch_1.pth']
    output = command(train.main, config, '--work-dir', folder, *resumed, *longer)
    said = 'let the training go on from'
    assert said not in output
    again = [folder / 'ce.py', '--work-dir', tmp_path / 'again']
    assert f'{said} {folder}/epoch_1.pth' in command(train.main, *again)
    fresh = command(train.main, *again, '--cfg-options', 'resume=False', 'load_from=None')
    assert said not in fresh and 'resumed epoch' not in fresh
