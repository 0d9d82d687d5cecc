"""CIFAR-100 through MMPretrain's own pipeline: worker processes load one image at a time.

`train_dataloader.dataset.rate` is the share of training labels that are wrong.
"""

_base_ = 'cifar100.py'

clean = _base_.train_dataloader.dataset.dataset.dataset
clean.pipeline = [
    dict(type='RandomCrop', crop_size=32, padding=4),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    num_workers=4,
    persistent_workers=True,
    dataset=dict(_delete_=True, type='NoisyLabelDataset', rate=0.0, dataset=clean),
)
