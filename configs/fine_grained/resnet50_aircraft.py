"""ResNet-50 on FGVC Aircraft (paper, Table VI)."""

_base_ = [
    '../_base_/models/resnet50_pretrained.py',
    '../_base_/datasets/aircraft.py',
    '../_base_/schedules/fine_grained.py',
    '../_base_/classification_runtime.py',
]

model = dict(head=dict(num_classes=90))
paper_cell = dict(data='aircraft', network='resnet50')
