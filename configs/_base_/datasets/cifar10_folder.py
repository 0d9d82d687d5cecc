"""CIFAR-10 from a folder of images, in memory as one tensor.

`data_root` holds the training images in train/CLASS/ and the test images in test/. Its file
meta/test.txt has a line `NAME LABEL` for each test image, in the order of the original test batch,
which CIFAR-10H follows. The classes are in alphabetical order, as in the original.
"""

_base_ = 'cifar10.py'

folder = dict(
    type='CustomDataset',
    data_root=_base_.data_root,
    metainfo=dict(
        classes=(
            'airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship',
            'truck',
        )
    ),
    pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')],
)  # fmt: skip
train_folder = dict(folder, data_prefix='train')
test_folder = dict(folder, data_prefix='test', ann_file='meta/test.txt')

data_preprocessor = dict(to_rgb=True)  # files are read as BGR
train_dataloader = dict(dataset=dict(dataset=dict(dataset=dict(_delete_=True, **train_folder))))
val_dataloader = dict(dataset=dict(dataset=dict(_delete_=True, **test_folder)))
test_dataloader = val_dataloader
