"""YOLOv3 with MobileNetV2 on your own data in VOC's layout: label smoothing of 0.1."""

_base_ = 'yolo_hard_own.py'

model = dict(bbox_head=dict(one_hot_smoother=0.1))
