"""CUB-200-2011: 5,994 training and 5,794 test images."""

_base_ = 'fine_grained.py'

data_root = 'data/CUB_200_2011'

data_preprocessor = dict(num_classes=200)
train_dataloader = dict(dataset=dict(type='CUB', data_root=data_root, split='train'))
val_dataloader = dict(dataset=dict(type='CUB', data_root=data_root))
test_dataloader = val_dataloader
