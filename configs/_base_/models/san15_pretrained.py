"""SAN-15 with its authors' ImageNet weights. The inheriting config sets `num_classes`.

Download the pairwise checkpoint from https://github.com/hszhao/SAN and put it where `init_cfg`
says. For the patchwise form set `model.backbone.form=patchwise` and
`model.backbone.init_cfg.checkpoint=PATH`.
"""

model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='SAN',
        depth=15,
        form='pairwise',
        init_cfg=dict(type='Pretrained', checkpoint='data/san15_pairwise.pth'),
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        in_channels=2048,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)
