"""MobileNetV2 with MMPretrain's ImageNet weights. The inheriting config sets `num_classes`."""

model = dict(
    type='ImageClassifier',
    # 71.86 % top-1. The authors chose torchvision's first weights, which have 71.88 % but other
    # parameter names.
    backbone=dict(
        type='MobileNetV2',
        init_cfg=dict(type='Pretrained', checkpoint='mmcls://mobilenet_v2', prefix='backbone'),
    ),
    neck=dict(type='AvgPoolDropout', drop_prob=0.2),
    head=dict(
        type='LinearClsHead',
        in_channels=1280,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)
