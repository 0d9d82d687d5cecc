"""ResNet-56 on CIFAR-100 with 80 % of its training labels wrong (paper, Table VII)."""

_base_ = 'resnet56_cifar100.py'

train_dataloader = dict(dataset=dict(dataset=dict(rate=0.8)))
# The error on the training set, and on its wrong labels, after each epoch.
custom_hooks = [dict(type='TrainErrorHook')]
paper_cell = dict(noise_rate=0.8)
