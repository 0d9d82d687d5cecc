"""CIFAR-100 in memory, as one tensor; whole batches are cropped and flipped.

`data_root` holds `cifar-100-python`; what is missing is downloaded there.
`train_dataloader.dataset.dataset.rate` is the share of training labels that are wrong, the same
ones in all runs of one seed. `{train,val,test}_dataloader.dataset.device=cuda` keeps the images on
the GPU.
"""

data_root = 'data/cifar100'

# The authors' code has these statistics, which are CIFAR-10's, for CIFAR-100 as well.
data_preprocessor = dict(
    num_classes=100, mean=[125.3, 123.0, 113.9], std=[63.0, 62.1, 66.7], to_rgb=False
)
train_dataloader = dict(
    batch_size=128,  # the last batch of an epoch has 80 and is used
    num_workers=0,  # workers would have nothing left to do
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='whole_batch_collate'),
    dataset=dict(
        type='InMemoryDataset',
        dataset=dict(
            type='NoisyLabelDataset',
            rate=0.0,
            dataset=dict(
                type='CIFAR100',
                data_root=data_root,
                split='train',
                pipeline=[dict(type='PackInputs')],
            ),
        ),
        batch_transforms=[
            dict(type='BatchRandomCrop', crop_size=32, padding=4),
            dict(type='BatchRandomFlip', prob=0.5),
        ],
    ),
)
val_dataloader = dict(
    batch_size=500,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='whole_batch_collate'),
    dataset=dict(
        type='InMemoryDataset',
        dataset=dict(
            type='CIFAR100',
            data_root=data_root,
            split='test',
            pipeline=[dict(type='PackInputs')],
        ),
    ),
)
test_dataloader = val_dataloader
