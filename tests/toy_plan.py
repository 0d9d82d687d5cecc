"""A config of six classes that stands for cells of the paper in plans which tests make."""

from __future__ import annotations

from toy_runs import make_start

from mmdet_ols.paper import Cell
from mmdet_ols.reproduction.scales import PlannedCell

CONFIG = """
model = dict(
    type='ImageClassifier',
    backbone=dict(type='CIFARResNet', depth=8, block='basic'),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=6, in_channels=64,
              loss=dict(type='CrossEntropyLoss')),
)
default_scope = 'mmpretrain'
data_root = 'data/six'
pipeline = [dict(type='Resize', scale=8), dict(type='PackInputs')]
train_dataloader = dict(
    batch_size=4, dataset=dict(type='CustomDataset', data_root=data_root, pipeline=pipeline))
val_dataloader = test_dataloader = train_dataloader
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01))
train_cfg = dict(by_epoch=True, max_epochs=2)
"""


def cell(config, method, table='VII', **values):
    """A cell of Table VII for which a config of a test is trained."""
    paper = Cell(table, 'cifar100/resnet56_cifar100.py', method, ())
    plain = PlannedCell(paper, (), str(config), method, (), False, 'six')
    return plain._replace(**values)


def finish(folder, *top1, minutes=1, cfg=None):
    """What a run leaves that reached this accuracy after each epoch, with this config."""
    lines = [
        line
        for epoch, value in enumerate(top1, 1)
        for line in (
            {'loss': 1.0, 'epoch': epoch, 'iter': epoch, 'step': epoch},
            {'accuracy/top1': value, 'step': epoch},
        )
    ]
    make_start(folder, '20260101_000000', lines, f'2026/01/01 00:{minutes:02d}:00', cfg)
