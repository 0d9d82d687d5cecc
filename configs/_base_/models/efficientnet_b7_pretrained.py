"""EfficientNet-b7 with its authors' ImageNet weights (AutoAugment).

The inheriting config sets `num_classes`.
"""

model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='EfficientNet',
        arch='b7',
        drop_path_rate=0.2,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://mmassets.onedl.ai/mmclassification/v0/efficientnet/'
            'efficientnet-b7_3rdparty_8xb32-aa_in1k_20220119-bf03951c.pth',
            prefix='backbone',
        ),
    ),
    neck=dict(type='AvgPoolDropout', drop_prob=0.5),
    head=dict(
        type='LinearClsHead',
        in_channels=2560,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)
