"""YOLOv3 with MobileNetV2 on your own data in COCO's format: online label smoothing.

`data_root` holds annotations/train.json and val.json, and the images in images; the tools'
`--data-root PATH` names yours, and `--method hard` takes hard labels. Otherwise as yolo_ols_own.py,
the classes included.
"""

_base_ = 'yolo_ols_own.py'

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='CocoDataset',
        data_root=_base_.data_root,
        ann_file='annotations/train.json',
        data_prefix=dict(img='images/'),
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=_base_.train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='CocoDataset',
        data_root=_base_.data_root,
        ann_file='annotations/val.json',
        data_prefix=dict(img='images/'),
        test_mode=True,
        pipeline=_base_.test_pipeline,
    )
)
test_dataloader = val_dataloader
