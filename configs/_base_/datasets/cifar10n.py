"""CIFAR-10 from a folder of images, with the labels of CIFAR-10N: those that people gave.

`data_root` is laid out as `cifar10_folder.py` describes it; NNNN.jpg in train/CLASS/ has to be the
NNNN-th image of its class in the original order. `meta/cifar10n.txt.gz` is made from the authors'
CIFAR-10_human.pt (https://github.com/UCSC-REAL/cifar-10-100n): the header
`# image clean aggregate random1 random2 random3 worst`, then a line such as
`frog/0000.jpg 6 6 6 4 6 4` for each training image.

`train_dataloader.dataset.dataset.column` chooses the labels: in `worst` 40 % are wrong, in
`random1` 17 %, in `aggregate` 9 %, and in `clean` none. Images are flipped but not cropped, so that
a network learns wrong labels by heart within a few epochs.
"""

_base_ = 'cifar10_folder.py'

train_dataloader = dict(
    dataset=dict(
        dataset=dict(
            _delete_=True,
            type='LabelFileDataset',
            file=f'{_base_.data_root}/meta/cifar10n.txt.gz',
            column='worst',
            clean='clean',
            dataset=_base_.train_folder,
        ),
        batch_transforms=[dict(type='BatchRandomFlip', prob=0.5)],
    )
)
