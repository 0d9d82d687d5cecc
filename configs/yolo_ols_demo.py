"""Online label smoothing on the demo data (`python tools/make_demo_data.py`), on a CPU in minutes.

The VOC config with what a small run needs changed: other data, small images, random weights, and a
short schedule with a learning rate that suits it.
"""

_base_ = 'yolo_ols_voc.py'

data_root = 'data/demo/'
classes = ('apple', 'peach', 'plum', 'car', 'van', 'bus', 'cat', 'dog', 'fox')
metainfo = dict(classes=classes)

model = dict(
    backbone=dict(init_cfg=None),
    bbox_head=dict(
        num_classes=len(classes),
        loss_cls=dict(num_classes=len(classes)),
        # Objects here are 20 to 100 pixels wide; the default anchors are made for 416 pixels.
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
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=image_size, keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=image_size, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=meta_keys),
]
train_dataloader = dict(
    batch_size=16,
    num_workers=2,
    dataset=dict(
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
        ]
    ),
)
val_dataloader = dict(
    num_workers=2, dataset=dict(data_root=data_root, metainfo=metainfo, pipeline=test_pipeline)
)
test_dataloader = val_dataloader

channels_last = True  # convolutions on a CPU take two thirds of the time
max_epochs = 14
randomness = dict(seed=0)
train_cfg = dict(max_epochs=max_epochs, val_interval=7)
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=2e-3, weight_decay=0.05))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=50, by_epoch=False),
    dict(
        type='CosineAnnealingLR',
        eta_min=4e-5,
        begin=0,
        end=max_epochs,
        T_max=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=2), logger=dict(interval=25))
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale=(size, size), keep_ratio=True) for size in (128, 160, 192)],
            [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)],
            [dict(type='LoadAnnotations', with_bbox=True)],
            [dict(type='PackDetInputs', meta_keys=(*meta_keys, 'flip', 'flip_direction'))],
        ],
    ),
]
