"""ResNet-50 on ImageNet (paper, Tables IV and IX)."""

_base_ = [
    '../_base_/models/resnet50.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/imagenet.py',
    '../_base_/classification_runtime.py',
]

model = dict(head=dict(num_classes=1000))
paper_cell = dict(data='imagenet', network='resnet50')
# FGSM and PGD in the test after the training; `_base_/cifar10_runtime.py` says more about them.
attacks = [
    dict(name='fgsm', eps=8),
    dict(name='pgd', eps=8, step=2, steps=20, random_start=True),
]
custom_hooks = [dict(type='AdversarialErrorHook', attacks=attacks)]
