"""FGVC Aircraft: 6,667 images to train, 3,333 to test.

The paper's 90 classes (Table V) came of cutting the 100 variants' names at the first space.
"""

_base_ = 'fine_grained.py'

data_preprocessor = dict(num_classes=90)
train_dataloader = dict(
    dataset=dict(
        type='FGVCAircraft90', data_root='{{$DATA_ROOT:data/fgvc-aircraft-2013b}}', split='trainval'
    )
)
val_dataloader = dict(
    dataset=dict(type='FGVCAircraft90', data_root='{{$DATA_ROOT:data/fgvc-aircraft-2013b}}')
)
test_dataloader = val_dataloader
