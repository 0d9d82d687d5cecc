"""ResNet-8 for CIFAR, of basic blocks: small enough for a CPU to train in minutes.

The config that inherits this says `num_classes`.
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
channels_last = True  # CPUs are faster so
