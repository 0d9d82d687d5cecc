"""YOLOv3 with MobileNetV2 on VOC07+12: online label smoothing (paper, Table X: 82.7 mAP)."""

_base_ = 'yolo_hard_voc.py'

custom_imports = dict(imports=['mmdet_ols'], allow_failed_imports=False)
model = dict(
    bbox_head=dict(
        loss_cls=dict(
            _delete_=True, type='OLSLoss', num_classes=20, use_sigmoid=True, reduction='sum'
        )
    )
)
default_hooks = dict(ols=dict(type='OLSHook'))
