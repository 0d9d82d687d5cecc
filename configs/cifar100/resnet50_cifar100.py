"""ResNet-50 on CIFAR-100 (paper, Table II)."""

_base_ = [
    '../_base_/models/resnet50_cifar.py',
    '../_base_/datasets/cifar100.py',
    '../_base_/schedules/cifar.py',
    '../_base_/classification_runtime.py',
]

model = dict(head=dict(num_classes=100))
paper_cell = dict(data='cifar100', network='resnet50')
