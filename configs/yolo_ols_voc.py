"""YOLOv3 with MobileNetV2 on VOC07+12: online label smoothing (paper, Table X: 82.7 mAP)."""

_base_ = 'yolo_hard_voc.py'

paper_result = dict(value=82.7)
# Weight, reduction and sigmoid scores are those of the loss that it takes the place of.
model = dict(bbox_head=dict(loss_cls=dict(type='OLSLoss', num_classes=20)))
default_hooks = dict(ols=dict(type='OLSHook'))
