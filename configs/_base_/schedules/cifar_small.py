"""The CIFAR recipe in 40 epochs instead of 300, for a CPU."""

_base_ = 'cifar.py'

param_scheduler = dict(milestones=[20, 30])
train_cfg = dict(max_epochs=40, val_interval=5)
