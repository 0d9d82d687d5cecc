"""FCOS with online label smoothing: focal form, with the base's own gamma and balance."""

_base_ = 'mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py'

custom_imports = dict(imports=['mmdet_ols'], allow_failed_imports=False)
model = dict(
    bbox_head=dict(
        loss_cls=dict(
            _delete_=True,
            type='OLSLoss',
            num_classes={{_base_.model.bbox_head.num_classes}},
            use_sigmoid=True,
            gamma=2.0,
            balance=0.25,
        )
    )
)
default_hooks = dict(ols=dict(type='OLSHook'))
