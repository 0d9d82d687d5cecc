"""ResNet-101 for ImageNet. The config that inherits this says `num_classes`."""

_base_ = 'resnet50.py'

model = dict(backbone=dict(depth=101))
