"""FGVC Aircraft with all its 100 variants, as is usual elsewhere."""

_base_ = 'aircraft.py'

data_preprocessor = dict(num_classes=100)
train_dataloader = dict(dataset=dict(type='FGVCAircraft'))
val_dataloader = dict(dataset=dict(type='FGVCAircraft'))
test_dataloader = val_dataloader
