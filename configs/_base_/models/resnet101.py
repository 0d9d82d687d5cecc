"""ResNet-101 for ImageNet. The inheriting config sets `num_classes`."""

_base_ = 'resnet50.py'

model = dict(backbone=dict(depth=101))
