"""A config of a MMYOLO user: one flag trains it with OLS, and the report reads the run."""

from __future__ import annotations

import csv

import torch
from mmyolo_host import mmyolo_configs, needs_mmyolo

from mmdet_ols.cli import report, train
from mmdet_ols.datasets.demo_voc import CLASSES, make_demo_voc

pytestmark = needs_mmyolo

CONFIG = """
_base_ = 'mmyolo::yolov5/voc/yolov5_n-v61_fast_1xb64-50e_voc.py'

scale = (64, 64)
load = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='LoadAnnotations', with_bbox=True),
]
resize = [
    dict(type='YOLOv5KeepRatioResize', scale=scale),
    dict(type='LetterResize', scale=scale, allow_scale_up=False, pad_val=dict(img=114)),
]
train_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape')
dataset = dict(
    type='YOLOv5VOCDataset',
    data_root={root!r},
    metainfo=dict(classes={classes!r}),
    ann_file='VOC2007/ImageSets/Main/trainval.txt',
    data_prefix=dict(sub_data_root='VOC2007/'),
    test_mode=False,
    pipeline=[
        load[0],
        load[1],
        dict(type='Mosaic', img_scale=scale, pre_transform=load),
        dict(type='mmdet.Resize', scale=scale),
        dict(type='mmdet.PackDetInputs', meta_keys=train_keys),
    ],
)
train_dataloader = dict(
    _delete_=True,
    batch_size=4,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='yolov5_collate'),
    dataset=dataset,
)
test_keys = (*train_keys, 'scale_factor', 'pad_param')
val_dataloader = dict(
    _delete_=True,
    batch_size=2,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        dataset,
        test_mode=True,
        pipeline=[load[0], *resize, load[1], dict(type='mmdet.PackDetInputs', meta_keys=test_keys)],
    ),
)
test_dataloader = val_dataloader
model = dict(
    backbone=dict(widen_factor=0.125),
    neck=dict(widen_factor=0.125),
    bbox_head=dict(head_module=dict(num_classes={count}, widen_factor=0.125)),
)
train_cfg = dict(max_epochs=2, val_interval=2)
default_hooks = dict(param_scheduler=dict(max_epochs=2), checkpoint=dict(interval=1))
load_from = None
randomness = dict(seed=0)
"""


def test_trains_with_one_flag_and_reports(command, tmp_path):
    mmyolo_configs()
    data = tmp_path / 'data'
    make_demo_voc(data, {'VOC2007/trainval': 16})
    config = tmp_path / 'mine.py'
    config.write_text(CONFIG.format(root=f'{data}/', classes=CLASSES, count=len(CLASSES)))
    work_dir = tmp_path / 'work'
    output = command(train.main, config, '--method', 'ols', '--work-dir', work_dir)
    assert 'Soft labels of bbox_head.loss_cls rolled over at epoch 2' in output
    state = torch.load(work_dir / 'epoch_2.pth', weights_only=False)['state_dict']
    soft_labels = state['bbox_head.loss_cls.state.soft_labels']
    assert soft_labels.shape == (len(CLASSES), len(CLASSES))
    assert (soft_labels != soft_labels[0, 0]).any()

    command(report.main, work_dir)
    html = (work_dir / 'report.html').read_text()
    for word in ('YOLODetector', 'in 16 images', *CLASSES):
        assert word in html, word
    with (work_dir / 'suspicious_annotations.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert rows and {row['written'] for row in rows} <= set(CLASSES)
