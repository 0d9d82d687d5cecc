"""SAN-15 with its authors' ImageNet weights, to fine-tune; `num_classes` is yours.

Download a checkpoint of the same form from https://github.com/hszhao/SAN, and say where it lies.
"""

model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='SAN',
        depth=15,
        form='{{$SAN_FORM:pairwise}}',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='{{$SAN_CHECKPOINT:data/san15_pairwise.pth}}',
        ),
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        in_channels=2048,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)
