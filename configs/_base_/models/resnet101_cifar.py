"""ResNet-101 with ImageNet's widths for CIFAR. The inheriting config sets `num_classes`."""

_base_ = 'resnet34_cifar.py'

model = dict(backbone=dict(depth=101), head=dict(in_channels=2048))
