"""ResNet-74 for CIFAR, with bottlenecks. The inheriting config sets `num_classes`."""

_base_ = 'resnet29_cifar.py'

model = dict(backbone=dict(depth=74))
