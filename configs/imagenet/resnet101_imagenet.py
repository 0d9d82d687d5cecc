"""ResNet-101 on ImageNet (paper, Table IV)."""

_base_ = [
    '../_base_/models/resnet101.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/imagenet.py',
    '../_base_/classification_runtime.py',
]

model = dict(head=dict(num_classes=1000))
paper_cell = dict(data='imagenet', network='resnet101')
# FGSM and PGD in the test after the training; `_base_/cifar10_runtime.py` says more about them.
custom_hooks = [dict(type='AdversarialErrorHook')]
