"""A classifier of MMPretrain that trains in a second, on a few grey images."""

import numpy as np
from PIL import Image

CONFIG = """
_base_ = 'mmpretrain::_base_/default_runtime.py'
model = dict(
    type='ImageClassifier',
    backbone=dict(type='LeNet5'),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=2,
        in_channels=120,
        loss=dict(type='CrossEntropyLoss'),
        topk=(1,),
    ),
    data_preprocessor=dict(num_classes=2, mean=[0], std=[255], to_rgb=False),
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
val_dataloader = test_dataloader = train_dataloader
val_evaluator = test_evaluator = dict(type='Accuracy', topk=(1,))
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01))
train_cfg = dict(by_epoch=True, max_epochs=1)
val_cfg = test_cfg = dict()
randomness = dict(seed=0)
"""


def write_lenet(folder):
    """Write config and images below a folder; return the config's path and the data root."""
    rng = np.random.default_rng(0)
    data = folder / 'grey images'
    for name in 'ab':
        (data / name).mkdir(parents=True)
        for index in range(4):
            pixels = rng.integers(0, 256, (32, 32), dtype=np.uint8)
            Image.fromarray(pixels).save(data / name / f'{index}.png')
    config = folder / 'lenet.py'
    config.write_text(CONFIG)
    return config, data
