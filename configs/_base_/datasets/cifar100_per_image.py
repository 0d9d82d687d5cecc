"""CIFAR-100 through MMPretrain's own pipeline, image by image in worker processes."""

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
    dataset=dict(_delete_=True, type='NoisyLabelDataset', rate=_base_.noise_rate, dataset=clean),
)
