"""YOLOv3 with MobileNetV2 on your own data in VOC's layout, from random weights: hard labels.

`data_root` holds Annotations, ImageSets/Main and JPEGImages; the tools' `--data-root PATH` names
yours. The recipe suits a few hundred images and a CPU.
"""

_base_ = '_base_/yolo_mobilenetv2.py'

# LenientVOCDataset reads files that are not quite in VOC's format, too; importing it needs
# MMDetection.
custom_imports = dict(
    imports=[
        'mmdet_ols',
        'mmdet_ols.models.yolo_head',
        'mmdet_ols.datasets.lenient_voc',
    ],
    allow_failed_imports=False,
)

# The tools read the classes from the annotations before a run, and fill in `metainfo` of the data
# sets and every `num_classes` of the model. The 80 classes of the base are a placeholder until
# then.
classes_from_annotations = True
data_root = 'data/own'

model = dict(backbone=dict(init_cfg=None), bbox_head=dict(num_classes=80))
train_dataloader = dict(
    dataset=dict(
        type='LenientVOCDataset',
        data_root=data_root,
        ann_file='ImageSets/Main/trainval.txt',
        data_prefix=dict(sub_data_root=''),
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=_base_.train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        type='LenientVOCDataset',
        data_root=data_root,
        ann_file='ImageSets/Main/test.txt',
        data_prefix=dict(sub_data_root=''),
        test_mode=True,
        pipeline=_base_.test_pipeline,
    )
)
test_dataloader = val_dataloader

channels_last = True  # on a CPU, convolutions then take two thirds of the time
max_epochs = 16
train_cfg = dict(max_epochs=max_epochs, val_interval=4)
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(begin=0, end=max_epochs, T_max=max_epochs)
default_hooks = dict(checkpoint=dict(interval=4), logger=dict(interval=10))
