"""ResNeXt29-2x64d for CIFAR. The inheriting config sets `num_classes`."""

model = dict(
    type='ImageClassifier',
    backbone=dict(type='CIFARResNeXt', depth=29, groups=2, width_per_group=64),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        in_channels=1024,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)
