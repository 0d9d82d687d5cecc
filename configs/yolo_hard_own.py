"""YOLOv3 with MobileNetV2 on your own data in VOC's layout, from random weights: hard labels.

Set the environment variable DATA_ROOT to the folder that holds Annotations, ImageSets/Main and
JPEGImages. The classes are those found in the annotations. TRAIN_SPLIT and TEST_SPLIT name files
of ImageSets/Main. The recipe suits a few hundred images and a CPU.
"""

_base_ = '_base_/yolo_mobilenetv2.py'

data_root = '{{$DATA_ROOT:data/own}}'
train_split = '{{$TRAIN_SPLIT:trainval}}'
test_split = '{{$TEST_SPLIT:test}}'
classes = __import__('mmdet_ols').voc_classes(data_root)  # MMEngine takes no import statement
metainfo = dict(classes=classes)

model = dict(backbone=dict(init_cfg=None), bbox_head=dict(num_classes=len(classes)))
train_dataloader = dict(
    dataset=dict(
        type='XMLDataset',
        data_root=data_root,
        ann_file=f'ImageSets/Main/{train_split}.txt',
        data_prefix=dict(sub_data_root=''),
        metainfo=metainfo,
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=_base_.train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        type='XMLDataset',
        data_root=data_root,
        ann_file=f'ImageSets/Main/{test_split}.txt',
        data_prefix=dict(sub_data_root=''),
        metainfo=metainfo,
        test_mode=True,
        pipeline=_base_.test_pipeline,
    )
)
test_dataloader = val_dataloader

channels_last = True  # convolutions on a CPU take two thirds of the time
max_epochs = 16
train_cfg = dict(max_epochs=max_epochs, val_interval=4)
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(begin=0, end=max_epochs, T_max=max_epochs)
default_hooks = dict(checkpoint=dict(interval=4), logger=dict(interval=10))
