"""CUB-200-2011: 5,994 images to train, 5,794 to test."""

_base_ = 'fine_grained.py'

data_preprocessor = dict(num_classes=200)
train_dataloader = dict(
    dataset=dict(type='CUB', data_root='{{$DATA_ROOT:data/CUB_200_2011}}', split='train')
)
val_dataloader = dict(dataset=dict(type='CUB', data_root='{{$DATA_ROOT:data/CUB_200_2011}}'))
test_dataloader = val_dataloader
