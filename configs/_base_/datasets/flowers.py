"""Flowers-102: 2,040 training images (the official train and val, Table V), 6,149 test images."""

_base_ = 'fine_grained.py'

data_root = 'data/Flowers102'

data_preprocessor = dict(num_classes=102)
train_dataloader = dict(dataset=dict(type='Flowers102', data_root=data_root, split='trainval'))
val_dataloader = dict(dataset=dict(type='Flowers102', data_root=data_root))
test_dataloader = val_dataloader
