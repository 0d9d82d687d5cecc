"""MobileNetV2 on CUB-200-2011 (paper, Table VI)."""

_base_ = [
    '../_base_/models/mobilenetv2_pretrained.py',
    '../_base_/datasets/cub.py',
    '../_base_/schedules/fine_grained.py',
    '../_base_/classification_runtime.py',
]

model = dict(head=dict(num_classes=200))
paper_cell = dict(data='cub', network='mobilenetv2')
