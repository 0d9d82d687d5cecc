"""Cascade R-CNN with online label smoothing: every stage has its own loss and soft labels."""

_base_ = 'mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py'

custom_imports = dict(imports=['mmdet_ols'], allow_failed_imports=False)
model = dict(
    roi_head=dict(
        # A list replaces the base's list whole, so each stage is taken over from there.
        bbox_head=[
            dict(
                stage,
                loss_cls=dict(type='OLSLoss', num_classes=stage.num_classes, background=True),
            )
            for stage in _base_.model.roi_head.bbox_head
        ]
    )
)
default_hooks = dict(ols=dict(type='OLSHook'))
