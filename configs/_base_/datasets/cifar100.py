"""CIFAR-100 in memory, as one tensor; whole batches are cropped and flipped.

DATA_ROOT names the folder that holds `cifar-100-python`; what is missing is downloaded there.
NOISE_RATE is the share of training labels that are wrong, the same ones in all runs of one seed.
`{train,val,test}_dataloader.dataset.device=cuda` keeps the images on the GPU.
"""

data_root = '{{$DATA_ROOT:data/cifar100}}'
noise_rate = float('{{$NOISE_RATE:0}}')
if not 0 <= noise_rate <= 1:
    raise ValueError(f'NOISE_RATE must be a share from 0 to 1, but is {noise_rate:g}.')
noise_suffix = f'_noise{noise_rate:g}' * (noise_rate > 0)  # of work directories

# The statistics of the authors' code, for CIFAR-100 as well; they are CIFAR-10's.
data_preprocessor = dict(
    num_classes=100, mean=[125.3, 123.0, 113.9], std=[63.0, 62.1, 66.7], to_rgb=False
)
train_dataloader = dict(
    batch_size=128,  # the last batch of an epoch has 80 and is used
    num_workers=0,  # nothing is left for them to do
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='whole_batch_collate'),
    dataset=dict(
        type='InMemoryDataset',
        dataset=dict(
            type='NoisyLabelDataset',
            rate=noise_rate,
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
