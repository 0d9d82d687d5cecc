"""YOLOv3 with MobileNetV2 on your own data in VOC's layout: online label smoothing."""

_base_ = 'yolo_hard_own.py'

# Weight, reduction and sigmoid scores are those of the loss that it takes the place of; how soft
# labels are made of them is chosen as in yolo_ols_voc.py.
model = dict(
    bbox_head=dict(
        loss_cls=dict(
            type='OLSLoss',
            num_classes=_base_.model.bbox_head.num_classes,
            sigmoid_reading='softmax',
        )
    )
)
default_hooks = dict(ols=dict(type='OLSHook'))
