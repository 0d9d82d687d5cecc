"""A narrow ResNet-18 on CIFAR-10's own labels, otherwise as on CIFAR-10N's."""

_base_ = 'resnet18_worst_cifar10n.py'

train_dataloader = dict(dataset=dict(dataset=dict(column='clean')))
# The test after the training attacks the network with a part of the test images, in 2 minutes.
custom_hooks = [*_base_.custom_hooks, dict(_base_.attacks, num_samples=1000)]
