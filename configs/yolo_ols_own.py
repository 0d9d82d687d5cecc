"""YOLOv3 with MobileNetV2 on your own data in VOC's layout: online label smoothing."""

_base_ = 'yolo_hard_own.py'

# How soft labels are made of sigmoid scores is chosen as in yolo_ols_voc.py. The number of classes
# is a placeholder, as in yolo_hard_own.py.
model = dict(
    bbox_head=dict(
        loss_cls=dict(
            _delete_=True,
            type='OLSLoss',
            num_classes=80,
            use_sigmoid=True,
            sigmoid_reading='softmax',
            loss_weight=1.0,
            reduction='sum',
        )
    )
)
default_hooks = dict(ols=dict(type='OLSHook'))
