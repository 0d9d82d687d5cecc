"""ResNet-29 for CIFAR, with bottlenecks. The inheriting config sets `num_classes`."""

model = dict(
    type='ImageClassifier',
    backbone=dict(type='CIFARResNet', depth=29, block='bottleneck'),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        in_channels=256,  # 64 with basic blocks
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)
