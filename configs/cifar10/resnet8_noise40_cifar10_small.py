"""ResNet-8 on a part of CIFAR-10 with 40 % of its training labels wrong."""

_base_ = 'resnet8_cifar10_small.py'

train_dataloader = dict(dataset=dict(dataset=dict(rate=0.4)))
# The error on the training set, and on its wrong labels, after every fifth epoch.
custom_hooks = [*_base_.custom_hooks, dict(type='TrainErrorHook', interval=5)]
