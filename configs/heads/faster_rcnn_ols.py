"""Faster R-CNN with online label smoothing: softmax with a background column; RPN as it is."""

_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'

custom_imports = dict(imports=['mmdet_ols'], allow_failed_imports=False)
model = dict(
    roi_head=dict(
        bbox_head=dict(
            loss_cls=dict(
                _delete_=True,
                type='OLSLoss',
                num_classes={{_base_.model.roi_head.bbox_head.num_classes}},
                background=True,
            )
        )
    )
)
default_hooks = dict(ols=dict(type='OLSHook'))
