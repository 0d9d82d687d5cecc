"""ResNet-34 with ImageNet's widths for CIFAR. The inheriting config sets `num_classes`."""

model = dict(
    type='ImageClassifier',
    # The last batch norm of each block starts at one, as in the authors' networks.
    backbone=dict(type='ResNet_CIFAR', depth=34, zero_init_residual=False),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        in_channels=512,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)
