"""YOLOv3 with MobileNetV2 on your own data in VOC's layout, from random weights: hard labels.

Set the environment variable DATA_ROOT to the folder that holds Annotations, ImageSets/Main and
JPEGImages. The classes are those found in the annotations. TRAIN_SPLIT and TEST_SPLIT name files
of ImageSets/Main. The recipe suits a few hundred images and a CPU.
"""

_base_ = 'yolo_hard_voc.py'

data_root = '{{$DATA_ROOT:data/own}}'
train_split = '{{$TRAIN_SPLIT:trainval}}'
test_split = '{{$TEST_SPLIT:test}}'
classes = __import__('mmdet_ols').voc_classes(data_root)  # MMEngine takes no import statement
metainfo = dict(classes=classes)

model = dict(backbone=dict(init_cfg=None), bbox_head=dict(num_classes=len(classes)))

image_size = (320, 320)
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
    num_workers=2,
    dataset=dict(
        _delete_=True,
        type='XMLDataset',
        data_root=data_root,
        ann_file=f'ImageSets/Main/{train_split}.txt',
        data_prefix=dict(sub_data_root=''),
        metainfo=metainfo,
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    num_workers=2,
    dataset=dict(
        data_root=data_root,
        ann_file=f'ImageSets/Main/{test_split}.txt',
        data_prefix=dict(sub_data_root=''),
        metainfo=metainfo,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

channels_last = True  # convolutions on a CPU take two thirds of the time
max_epochs = 24
train_cfg = dict(max_epochs=max_epochs, val_interval=4)
optim_wrapper = dict(optimizer=dict(lr=4e-3))
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
default_hooks = dict(checkpoint=dict(interval=4), logger=dict(interval=10))
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale=(size, size), keep_ratio=True) for size in (288, 320, 352)],
            [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)],
            [dict(type='LoadAnnotations', with_bbox=True)],
            [dict(type='PackDetInputs', meta_keys=(*meta_keys, 'flip', 'flip_direction'))],
        ],
    ),
]
