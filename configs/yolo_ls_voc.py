"""YOLOv3 with MobileNetV2 on VOC07+12: label smoothing of 0.1 (paper, Table X: 82.3 mAP)."""

_base_ = 'yolo_hard_voc.py'

paper_cell = dict(method='ls')
model = dict(bbox_head=dict(one_hot_smoother=0.1))
