"""MobileNetV2 on Stanford Cars at 128 pixels: a training of 20 minutes on one core."""

_base_ = [
    '../_base_/models/mobilenetv2_pretrained.py',
    '../_base_/datasets/cars_small.py',
    '../_base_/schedules/fine_grained_small.py',
    '../_base_/classification_runtime.py',
]

model = dict(head=dict(num_classes=196))
channels_last = True  # faster on CPUs
