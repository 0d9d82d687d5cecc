"""Flowers-102: 2,040 images to train (Table V; the official train and val), 6,149 to test."""

_base_ = 'fine_grained.py'

data_preprocessor = dict(num_classes=102)
train_dataloader = dict(
    dataset=dict(type='Flowers102', data_root='{{$DATA_ROOT:data/Flowers102}}', split='trainval')
)
val_dataloader = dict(dataset=dict(type='Flowers102', data_root='{{$DATA_ROOT:data/Flowers102}}'))
test_dataloader = val_dataloader
