"""EfficientNet-b7 on Stanford Cars (paper, Table VI)."""

_base_ = [
    '../_base_/models/efficientnet_b7_pretrained.py',
    '../_base_/datasets/cars.py',
    '../_base_/schedules/fine_grained.py',
    '../_base_/classification_runtime.py',
]

model = dict(head=dict(num_classes=196))
paper_cell = dict(data='cars', network='efficientnet_b7')
