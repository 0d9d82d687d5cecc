"""ResNet-56 on CIFAR-100, tested alone and as ensembles of its checkpoints (paper, Table III)."""

_base_ = 'resnet56_cifar100.py'

# The test after the training averages the predictions of checkpoints that are evenly spaced over
# the 300 epochs. Those of every fifth epoch are kept, which takes about 300 MB a run.
default_hooks = dict(checkpoint=dict(interval=5, max_keep_ckpts=-1))
custom_hooks = [dict(type='EnsembleHook', sizes=(1, 6, 10, 15, 20))]
