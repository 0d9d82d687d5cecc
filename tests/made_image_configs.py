"""Configs that read tiny data sets, those of `mmdet_ols.reproduction.made_data` and more."""

from __future__ import annotations

import gzip
from functools import partial
from pathlib import Path

from mmdet_ols.datasets.tree import walk_datasets
from mmdet_ols.reproduction.made_data import (
    aircraft,
    cars,
    cifar,
    cub,
    flowers,
    image,
    imagenet,
    lines,
)

CIFAR10 = (
    'airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck',
)  # fmt: skip


def moved(cfg, root):
    """A classification config that reads its data from another folder."""
    for split in ('train', 'val', 'test'):
        for dataset in walk_datasets(cfg[f'{split}_dataloader'].dataset):
            if 'data_root' in dataset:
                dataset.data_root = str(root)
            if 'file' in dataset:
                dataset.file = str(Path(root, 'meta/cifar10n.txt.gz'))
        for metric in cfg.get(f'{split}_evaluator') or []:
            if 'human' in metric:
                metric.human = str(Path(root, 'meta/cifar10h-probs.npy'))
    cfg.data_root = str(root)
    return cfg


def cifar10_folder(root: Path) -> None:
    """CIFAR-10 as a folder for each class, with four images to train and one to test."""
    for label, name in enumerate(CIFAR10):
        for n in range(4):
            image(root / 'train' / name / f'{n:04d}.png', 10 * label + n, (32, 32))
        image(root / 'test' / f'{label:05d}.png', 99 - label, (32, 32))
    lines(root / 'meta/test.txt', *(f'{label:05d}.png {label}' for label in range(10)))


def cifar10n(root: Path) -> None:
    """CIFAR-10N: every other label is wrong in one of the columns."""
    cifar10_folder(root)
    names = [(label, f'{name}/{n:04d}.png') for label, name in enumerate(CIFAR10) for n in range(4)]
    rows = [f'{name} {label} {(label + n % 2) % 10}' for n, (label, name) in enumerate(names)]
    text = '\n'.join(['# image clean worst', *rows])
    (root / 'meta/cifar10n.txt.gz').write_bytes(gzip.compress(text.encode()))


#: What makes the data of each file in configs/_base_/datasets.
MAKERS = {
    'cifar10': partial(cifar, num_classes=10),
    'cifar10_folder': cifar10_folder,
    'cifar10n': cifar10n,
    'cifar10n_tuning': cifar10n,
    'cifar100': partial(cifar, num_classes=100),
    'cifar100_per_image': partial(cifar, num_classes=100),
    'imagenet': imagenet,
    'cub': cub,
    'flowers': flowers,
    'flowers_1020': flowers,
    'cars': cars,
    'aircraft': aircraft,
    'aircraft_100': aircraft,
}
