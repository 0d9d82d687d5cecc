"""Stanford Cars: 8,144 images to train, 8,041 to test."""

_base_ = 'fine_grained.py'

data_preprocessor = dict(num_classes=196)
train_dataloader = dict(
    dataset=dict(type='StanfordCars', data_root='{{$DATA_ROOT:data/Stanford_Cars}}', split='train')
)
val_dataloader = dict(
    dataset=dict(type='StanfordCars', data_root='{{$DATA_ROOT:data/Stanford_Cars}}')
)
test_dataloader = val_dataloader
