"""ResNet-56 for CIFAR, of bottlenecks. The config that inherits this says `num_classes`."""

_base_ = 'resnet29_cifar.py'

model = dict(backbone=dict(depth=56))
