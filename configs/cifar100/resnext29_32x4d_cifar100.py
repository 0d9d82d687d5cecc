"""ResNeXt29-32x4d on CIFAR-100 (paper, Table II)."""

_base_ = [
    '../_base_/models/resnext29_32x4d_cifar.py',
    '../_base_/datasets/cifar100.py',
    '../_base_/schedules/cifar.py',
    '../_base_/classification_runtime.py',
]

model = dict(head=dict(num_classes=100))
paper_cell = dict(data='cifar100', network='resnext29_32x4d')
