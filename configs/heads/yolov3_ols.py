"""YOLOv3 with online label smoothing: sigmoid scores, one-hot rows, losses summed."""

_base_ = 'mmdet::yolo/yolov3_d53_8xb8-ms-608-273e_coco.py'

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
