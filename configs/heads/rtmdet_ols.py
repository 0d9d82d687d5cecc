"""RTMDet with online label smoothing: labels that come with the qualities of boxes."""

_base_ = 'mmdet::rtmdet/rtmdet_s_8xb32-300e_coco.py'

custom_imports = dict(imports=['mmdet_ols'], allow_failed_imports=False)
model = dict(
    bbox_head=dict(
        loss_cls=dict(
            _delete_=True,
            type='OLSLoss',
            num_classes={{_base_.model.bbox_head.num_classes}},
            use_sigmoid=True,
            quality_beta=2.0,
        )
    )
)
default_hooks = dict(ols=dict(type='OLSHook'))
