"""ResNet-8 for CIFAR, with basic blocks: small enough to train on a CPU in minutes.

The inheriting config sets `num_classes`.
"""

model = dict(
    type='ImageClassifier',
    backbone=dict(type='CIFARResNet', depth=8, block='basic'),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        in_channels=64,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)
channels_last = True  # faster on CPUs
