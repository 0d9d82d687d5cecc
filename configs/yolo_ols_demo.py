"""Online label smoothing on the demo data (`python tools/make_demo_data.py`), in minutes on a CPU.

Images are small, weights are random, and a short schedule has a learning rate that suits it.
"""

_base_ = '_base_/yolo_mobilenetv2.py'

data_root = 'data/demo/'
classes = ('apple', 'peach', 'plum', 'car', 'van', 'bus', 'cat', 'dog', 'fox')
metainfo = dict(classes=classes)

model = dict(
    backbone=dict(init_cfg=None),
    bbox_head=dict(
        num_classes=len(classes),
        loss_cls=dict(
            _delete_=True,
            type='OLSLoss',
            num_classes=len(classes),
            use_sigmoid=True,
            sigmoid_reading='softmax',
            loss_weight=1.0,
            reduction='sum',
        ),
        # Objects are 20 to 100 pixels wide here; the default anchors are made for 416 pixels.
        anchor_generator=dict(
            base_sizes=[
                [(64, 64), (88, 72), (100, 100)],
                [(36, 36), (48, 40), (56, 56)],
                [(16, 16), (24, 20), (28, 28)],
            ]
        ),
    ),
)

image_size = (160, 160)
train_pipeline = _base_.train_pipeline
train_pipeline[2].scale = image_size
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = image_size
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].transforms[0] = [
    dict(type='Resize', scale=(size, size), keep_ratio=True) for size in (128, 160, 192)
]
train_dataloader = dict(
    batch_size=16,
    dataset=dict(
        type='ConcatDataset',
        datasets=[
            dict(
                type='XMLDataset',
                data_root=data_root,
                ann_file=f'{year}/ImageSets/Main/trainval.txt',
                data_prefix=dict(sub_data_root=f'{year}/'),
                metainfo=metainfo,
                filter_cfg=dict(filter_empty_gt=True, min_size=32),
                pipeline=train_pipeline,
            )
            for year in ('VOC2007', 'VOC2012')
        ],
    ),
)
val_dataloader = dict(
    dataset=dict(
        type='XMLDataset',
        data_root=data_root,
        ann_file='VOC2007/ImageSets/Main/test.txt',
        data_prefix=dict(sub_data_root='VOC2007/'),
        metainfo=metainfo,
        test_mode=True,
        pipeline=test_pipeline,
    )
)
test_dataloader = val_dataloader

channels_last = True  # on a CPU, convolutions then take two thirds of the time
max_epochs = 14
randomness = dict(seed=0)
train_cfg = dict(max_epochs=max_epochs, val_interval=7)
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=2e-3, weight_decay=0.05))
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(begin=0, end=max_epochs, T_max=max_epochs)
default_hooks = dict(
    checkpoint=dict(interval=1, max_keep_ckpts=2),
    logger=dict(interval=25),
    ols=dict(type='OLSHook'),
)
