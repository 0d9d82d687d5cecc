"""CIFAR-10 in memory, as one tensor; whole batches are cropped and flipped.

`data_root` holds `cifar-10-batches-py`; what is missing is downloaded there.
"""

_base_ = 'cifar100.py'

data_root = 'data/cifar10'

data_preprocessor = dict(num_classes=10)
cifar10 = dict(type='CIFAR10', data_root=data_root)
train_dataloader = dict(dataset=dict(dataset=dict(dataset=cifar10)))
val_dataloader = dict(dataset=dict(dataset=cifar10))
test_dataloader = val_dataloader
