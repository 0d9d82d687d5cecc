"""ResNet-56 on CIFAR-100: hard labels (paper, Tables III, VII and XI)."""

_base_ = [
    '_base_/models/resnet56_cifar.py',
    '_base_/datasets/cifar100.py',
    '_base_/schedules/cifar.py',
    '_base_/classification_runtime.py',
]

model = dict(head=dict(num_classes=100, loss=dict(type='CrossEntropyLoss', loss_weight=1.0)))
paper_cell = dict(data='cifar100', network='resnet56', method='hard')

# Checkpoints of every fifth epoch are kept, which takes about 300 MB a run, so that their ensembles
# (Table III) can be tested later; cifar100/resnet56_ensembles_cifar100.py tests them by itself.
default_hooks = dict(checkpoint=dict(interval=5, max_keep_ckpts=-1))
