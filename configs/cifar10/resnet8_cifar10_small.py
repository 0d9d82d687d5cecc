"""ResNet-8 on a part of CIFAR-10: a training of minutes on a CPU.

The data are a folder of images, as `_base_/datasets/cifar10_folder.py` describes it.
"""

_base_ = [
    '../_base_/models/resnet8_cifar.py',
    '../_base_/datasets/cifar10_small.py',
    '../_base_/schedules/cifar_small.py',
    '../_base_/cifar10_runtime.py',
]

model = dict(head=dict(num_classes=10))
# Attacks on all 10,000 test images would take longer than the training.
custom_hooks = [dict(_base_.attacks, num_samples=500)]
