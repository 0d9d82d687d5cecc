"""A narrow ResNet-18 on CIFAR-10N's `aggregate` labels, of which 9 % are wrong."""

_base_ = 'resnet18_worst_cifar10n.py'

train_dataloader = dict(dataset=dict(dataset=dict(column='aggregate')))
