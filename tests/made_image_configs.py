"""Configs that read the tiny data sets of `mmdet_ols.reproduction.made_data`."""

from __future__ import annotations

from pathlib import Path

from mmdet_ols.datasets.tree import walk_datasets
from mmdet_ols.reproduction.made_data import (
    aircraft,
    cars,
    cifar10,
    cifar10_folder,
    cifar10n,
    cifar100,
    cub,
    flowers,
    imagenet,
)


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


#: What makes the data of each file in configs/_base_/datasets.
MAKERS = {
    'cifar10': cifar10,
    'cifar10_folder': cifar10_folder,
    'cifar10n': cifar10n,
    'cifar10n_tuning': cifar10n,
    'cifar100': cifar100,
    'cifar100_per_image': cifar100,
    'imagenet': imagenet,
    'cub': cub,
    'flowers': flowers,
    'flowers_1020': flowers,
    'cars': cars,
    'aircraft': aircraft,
    'aircraft_100': aircraft,
}
