"""MobileNetV2 on Flowers-102 with 1,020 training images."""

_base_ = [
    '../_base_/models/mobilenetv2_pretrained.py',
    '../_base_/datasets/flowers_1020.py',
    '../_base_/schedules/fine_grained.py',
    '../_base_/classification_runtime.py',
]

model = dict(head=dict(num_classes=102))
