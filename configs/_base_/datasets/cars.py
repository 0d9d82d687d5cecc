"""Stanford Cars: 8,144 training and 8,041 test images."""

_base_ = 'fine_grained.py'

data_root = 'data/Stanford_Cars'

data_preprocessor = dict(num_classes=196)
train_dataloader = dict(dataset=dict(type='StanfordCars', data_root=data_root, split='train'))
val_dataloader = dict(dataset=dict(type='StanfordCars', data_root=data_root))
test_dataloader = val_dataloader
