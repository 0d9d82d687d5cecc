"""ResNet-50 for ImageNet. The inheriting config sets `num_classes`."""

model = dict(
    type='ImageClassifier',
    # The last batch norm of each block starts at one, as in the authors' networks.
    backbone=dict(type='ResNet', depth=50, zero_init_residual=False),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        in_channels=2048,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)
