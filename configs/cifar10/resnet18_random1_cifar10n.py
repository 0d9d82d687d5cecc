"""A narrow ResNet-18 on CIFAR-10N's `random1` labels, of which 17 % are wrong."""

_base_ = 'resnet18_worst_cifar10n.py'

train_dataloader = dict(dataset=dict(dataset=dict(column='random1')))
