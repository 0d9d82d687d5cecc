"""A narrow ResNet-18 on CIFAR-10's own labels, otherwise as on CIFAR-10N's."""

_base_ = 'resnet18_worst_cifar10n.py'

train_dataloader = dict(dataset=dict(dataset=dict(column='clean')))
