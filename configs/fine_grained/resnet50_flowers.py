"""ResNet-50 on Flowers-102 (paper, Table VI)."""

_base_ = [
    '../_base_/models/resnet50_pretrained.py',
    '../_base_/datasets/flowers.py',
    '../_base_/schedules/fine_grained.py',
    '../_base_/classification_runtime.py',
]

model = dict(head=dict(num_classes=102))
paper_cell = dict(data='flowers', network='resnet50')
