"""ResNet-101 of ImageNet's widths for CIFAR. The config that inherits this says `num_classes`."""

_base_ = 'resnet34_cifar.py'

model = dict(backbone=dict(depth=101), head=dict(in_channels=2048))
