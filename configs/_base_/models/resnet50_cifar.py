"""ResNet-50 with ImageNet's widths for CIFAR. The inheriting config sets `num_classes`."""

_base_ = 'resnet34_cifar.py'

model = dict(backbone=dict(depth=50), head=dict(in_channels=2048))
