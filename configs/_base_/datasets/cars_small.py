"""Stanford Cars as images of 144 x 144 pixels, of which the network sees 128 x 128, for a CPU.

`data_root` is laid out as MMPretrain's `StanfordCars` reads it; the images must have that size
already, since each is decoded only once and then kept in memory.
"""

_base_ = 'cars.py'

cars = dict(type='StanfordCars', data_root=_base_.data_root)
train_cars = dict(
    cars,
    split='train',
    pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')],
)
test_cars = dict(
    cars,
    split='test',
    pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='CenterCrop', crop_size=128),
        dict(type='PackInputs'),
    ],
)

train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    persistent_workers=False,
    collate_fn=dict(type='whole_batch_collate'),
    dataset=dict(
        _delete_=True,
        type='InMemoryDataset',
        dataset=train_cars,
        batch_transforms=[
            dict(type='BatchRandomCrop', crop_size=128, padding=0),
            dict(type='BatchRandomFlip', prob=0.5),
        ],
    ),
)
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    collate_fn=dict(type='whole_batch_collate'),
    dataset=dict(_delete_=True, type='InMemoryDataset', dataset=test_cars),
)
test_dataloader = val_dataloader
