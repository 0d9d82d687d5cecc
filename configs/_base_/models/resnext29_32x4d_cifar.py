"""ResNeXt29-32x4d for CIFAR. The inheriting config sets `num_classes`."""

_base_ = 'resnext29_2x64d_cifar.py'

model = dict(backbone=dict(groups=32, width_per_group=4))
