"""A classifier of six greys for MMPretrain, which is trained in seconds."""

from __future__ import annotations

import numpy as np
from PIL import Image

CLASSIFIER = """
_base_ = 'mmpretrain::_base_/default_runtime.py'
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(num_classes=6, mean=[0, 0, 0], std=[255, 255, 255]),
    backbone=dict(
        type='ResNet_CIFAR', depth=18, stem_channels=8, base_channels=8, out_indices=(3,)
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead', num_classes=6, in_channels=64, topk=(1,),
        loss=dict(type='CrossEntropyLoss'),
    ),
)
pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
loader = dict(
    batch_size=6,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='CustomDataset', data_root={root!r}, pipeline=pipeline),
)
train_dataloader = val_dataloader = test_dataloader = loader
val_evaluator = test_evaluator = dict(type='Accuracy', topk=(1, 5))
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01))
train_cfg = dict(by_epoch=True, max_epochs=1)
val_cfg = test_cfg = dict()
"""

OLS = """
_base_ = 'ce.py'
custom_imports = dict(imports=['mmdet_ols'])
model = dict(head=dict(loss=dict(type='OLSLoss', num_classes=6)))
default_hooks = dict(ols=dict(type='OLSHook'))
"""


def make_classifier(folder):
    """Write 24 images and the config `ce.py`; return its path."""
    rng = np.random.default_rng(0)
    for level in range(6):
        (folder / 'data' / f'grey{level}').mkdir(parents=True)
        for index in range(4):
            pixels = rng.normal(40 * level, 10, (16, 16, 3)).clip(0, 255).astype('uint8')
            Image.fromarray(pixels).save(folder / 'data' / f'grey{level}' / f'{index}.png')
    config = folder / 'ce.py'
    config.write_text(CLASSIFIER.replace('{root!r}', repr(str(folder / 'data'))))
    return config


def make_classifiers(folder):
    """The same, and `ols.py` with OLS; return the paths of both."""
    config = make_classifier(folder)
    (folder / 'ols.py').write_text(OLS)
    return config, folder / 'ols.py'
