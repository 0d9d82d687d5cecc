"""YOLOX with online label smoothing: sigmoid scores, one-hot rows times the IoU, losses summed."""

_base_ = 'mmdet::yolox/yolox_s_8xb8-300e_coco.py'

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
