"""ImageNet-1k: 1.28 million training and 50,000 test images.

`data_root` holds `train/WNID`, `val` and, where `val` is flat, `meta/val.txt`.
"""

data_root = 'data/imagenet'

data_preprocessor = dict(
    num_classes=1000, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True
)
# Images are loaded in floating point: MMPretrain's Lighting casts back to the type of its input,
# and in uint8 a white pixel that gets lighter would wrap around to black. The colour jitter uses
# OpenCV because Pillow has no colours in floating point.
train_pipeline = [
    dict(type='LoadImageFromFile', to_float32=True),
    dict(type='RandomResizedCrop', scale=224),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, backend='cv2'),
    # AlexNet's eigenvalues and eigenvectors of ImageNet's colours, in the order of the file (BGR).
    dict(
        type='Lighting',
        eigval=[55.4625, 4.7940, 1.1475],
        eigvec=[[-0.5836, -0.6948, 0.4203], [-0.5808, -0.0045, -0.8140], [-0.5675, 0.7192, 0.4009]],
        alphastd=0.1,
        to_rgb=False,
    ),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=256, edge='short'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
# The paper's 256 images, in one process. The authors had 64 in each of 4 processes, whose
# BatchNorms were their own; with 4 processes, set train_dataloader.batch_size=64.
train_dataloader = dict(
    batch_size=256,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='ImageNet',
        data_root=data_root,
        split='train',
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='ImageNet',
        data_root=data_root,
        split='val',
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
