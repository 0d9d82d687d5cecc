"""The report of a training, as a user makes it: train, report, and report again."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmdet_ols.cli import report, train
from mmdet_ols.datasets.demo_voc import CLASSES, make_demo_voc

ROOT = Path(__file__).parents[2]


def in_a_process_of_its_own(name, *arguments):
    done = subprocess.run(
        [sys.executable, f'tools/{name}', *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return done.stdout + done.stderr


def test_detector(command, tmp_path):
    make_demo_voc(
        tmp_path / 'data', {'VOC2007/trainval': 8, 'VOC2012/trainval': 4, 'VOC2007/test': 3}
    )
    places = [f'train_dataloader.dataset.datasets.{part}' for part in (0, 1)]
    places += ['val_dataloader.dataset', 'test_dataloader.dataset']
    loaders = ('train', 'val', 'test')
    command(
        train.main, ROOT / 'configs/yolo_ols_demo.py', '--work-dir', tmp_path / 'work',
        '--cfg-options',
        *(f'{place}.data_root={tmp_path / "data"}' for place in places),
        *(f'{loader}_dataloader.num_workers=0' for loader in loaders),
        *(f'{loader}_dataloader.persistent_workers=False' for loader in loaders),
        'train_dataloader.batch_size=4', 'train_cfg.max_epochs=1', 'train_cfg.val_interval=1',
        'default_hooks.logger.interval=1',
    )  # fmt: skip
    output = command(report.main, tmp_path / 'work', '--max-images', 6)
    assert 'Looking at the train images' in output
    page = Path(re.search(r'Report: (.+)', output)[1])
    html = page.read_text()
    assert not re.search(r'(?:src|href)="(?!#|data:)', html)
    for word in (
        'After epoch 1',
        'At the start',
        'Losses',
        'AP of each class',
        'in 6 images',
        *CLASSES,
    ):
        assert word in html, word
    # After one epoch no score is high: objects are missed, or taken for anything.
    with (tmp_path / 'work/suspicious_annotations.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert rows and {row['written'] for row in rows} <= set(CLASSES)
    assert all(Path(row['image']).is_file() for row in rows)

    again = in_a_process_of_its_own('report.py', tmp_path / 'work', '--max-images', 6)
    assert 'Looking at' not in again and page.read_text() == html


CLASSIFIER = """
_base_ = 'mmpretrain::_base_/default_runtime.py'
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(num_classes=2, mean=3 * [127], std=3 * [64]),
    backbone=dict(
        type='ResNet_CIFAR', depth=18, num_stages=4, out_indices=(3,),
        norm_cfg=dict(type='GN', num_groups=8),  # BatchNorm's means would need more iterations
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead', num_classes=2, in_channels=512,
        loss=dict(type='CrossEntropyLoss'), topk=(1,),
    ),
)
pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
loader = dict(
    batch_size=8, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='CustomDataset', data_root={root!r}, pipeline=pipeline),
)
train_dataloader = val_dataloader = test_dataloader = loader
val_evaluator = test_evaluator = dict(type='Accuracy', topk=(1,))
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.02))
train_cfg = dict(by_epoch=True, max_epochs=4, val_interval=4)
val_cfg = test_cfg = dict()
"""


@pytest.mark.filterwarnings('ignore')
def test_classifier_without_soft_labels_finds_the_image_in_the_wrong_folder(command, tmp_path):
    rng = np.random.default_rng(0)
    for name, level in (('dark', 60), ('light', 190)):
        (tmp_path / 'data' / name).mkdir(parents=True)
        for index in range(24):
            # One light image lies in the folder of the dark ones.
            pixels = rng.normal(190 if index == 7 else level, 20, (16, 16, 3))
            pixels = pixels.clip(0, 255).astype('uint8')
            Image.fromarray(pixels).save(tmp_path / 'data' / name / f'{name}_{index}.png')
    config = tmp_path / 'classifier.py'
    config.write_text(CLASSIFIER.replace('{root!r}', repr(str(tmp_path / 'data'))))
    command(train.main, config, '--work-dir', tmp_path / 'work')
    page = Path(re.search(r'Report: (.+)', command(report.main, tmp_path / 'work'))[1])
    html = page.read_text()
    assert 'accuracy/top1' in html and 'the mean predictions' in html and 'dark_7.png' in html
    with (tmp_path / 'work/suspicious_annotations.csv').open() as file:
        (row,) = csv.DictReader(file)
    assert Path(row['image']).name == 'dark_7.png'
    assert (row['written'], row['suggested'], row['x0']) == ('dark', 'light', '')
