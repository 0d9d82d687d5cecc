"""FGVC Aircraft: 6,667 training and 3,333 test images of the paper's 90 classes (Table V).

They are the 100 variants with class names truncated at the first space.
"""

_base_ = 'fine_grained.py'

data_root = 'data/fgvc-aircraft-2013b'

data_preprocessor = dict(num_classes=90)
train_dataloader = dict(dataset=dict(type='FGVCAircraft90', data_root=data_root, split='trainval'))
val_dataloader = dict(dataset=dict(type='FGVCAircraft90', data_root=data_root))
test_dataloader = val_dataloader
