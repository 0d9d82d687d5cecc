"""ResNet-29 on CIFAR-10 (paper, Tables VIII and XII, Fig. 7)."""

_base_ = [
    '../_base_/models/resnet29_cifar.py',
    '../_base_/datasets/cifar10.py',
    '../_base_/schedules/cifar.py',
    '../_base_/cifar10_runtime.py',
]

model = dict(head=dict(num_classes=10))
paper_cell = dict(data='cifar10', network='resnet29')
