"""YOLOv3 with MobileNetV2 on your own data in VOC's layout: online label smoothing."""

_base_ = 'yolo_hard_own.py'

custom_imports = dict(imports=['mmdet_ols'], allow_failed_imports=False)
model = dict(
    bbox_head=dict(
        loss_cls=dict(
            _delete_=True,
            type='OLSLoss',
            num_classes={{_base_.model.bbox_head.num_classes}},
            use_sigmoid=True,
            reduction='sum',
        )
    )
)
default_hooks = dict(ols=dict(type='OLSHook'))
