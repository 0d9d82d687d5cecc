"""CIFAR-10's first 500 training images of each class, not cropped, and its whole test set.

A small network overfits so few uncropped images within minutes on a CPU, which is what soft labels
are meant to prevent.
"""

_base_ = 'cifar10_folder.py'

train_dataloader = dict(
    dataset=dict(
        dataset=dict(
            dataset=dict(
                _delete_=True,
                type='BalancedSubset',
                samples_per_class=500,
                dataset=_base_.train_folder,
            )
        ),
        batch_transforms=[dict(type='BatchRandomFlip', prob=0.5)],
    )
)
