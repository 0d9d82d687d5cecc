"""Making the made-up data that the configs of the paper's cells ask for."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Callable

from mmengine.config import Config

from mmdet_ols.config_tree import type_name
from mmdet_ols.datasets.tree import datasets_of_config
from mmdet_ols.reproduction import made_data

#: Data sets that look at the MD5 sums of their files, and those of `made_cifar` that do not.
MADE_TYPES = {'CIFAR10': 'MadeCIFAR10', 'CIFAR100': 'MadeCIFAR100'}
#: VOC's classes, of which the made images need only a few.
VOC_CLASSES = ('aeroplane', 'bicycle', 'bird', 'boat')
#: The first images to train on have few classes, so that a few steps are enough to know some; then
#: each class has two, of which methods may hold one out.
FEW = (0, 1, 0, 1, 1, 0, 0, 1)
#: One test image of each class: whatever a network says of all of them, it is right once.
CIFAR10_TEST = tuple(range(10))


def _cifar10(root: Path) -> None:
    made_data.cifar(root, 10, train=FEW, test=CIFAR10_TEST)
    made_data.cifar10h(root, CIFAR10_TEST)


#: By the type of the data sets: what makes their files.
MAKERS: dict[str, Callable[[Path], None]] = {
    'CIFAR10': _cifar10,
    'CIFAR100': partial(
        made_data.cifar, num_classes=100, train=(*FEW, *range(100), *range(100)), test=range(8)
    ),
    'CUB': partial(made_data.cub, times=3),
    'FGVCAircraft': partial(made_data.aircraft, times=3),
    'FGVCAircraft90': partial(made_data.aircraft, times=3),
    'Flowers102': partial(made_data.flowers, times=3),
    'ImageNet': partial(made_data.imagenet, times=3),
    'StanfordCars': partial(made_data.cars, times=3),
    'XMLDataset': partial(made_data.voc, classes=VOC_CLASSES),
}


def made_kind(cfg: Config) -> str:
    """The type of a config's data sets, after which the folder of the made ones is named.

    Raises:
        ValueError: Nothing makes such data.
    """
    plain = {made: kind for kind, made in MADE_TYPES.items()}
    types = [type_name(dataset) for _, dataset in datasets_of_config(cfg)]
    kinds = {plain.get(name, name) for name in types}
    if len(kinds) != 1 or not kinds <= set(MAKERS):
        raise ValueError(
            f'The data sets must be of one type that can be made up, {", ".join(MAKERS)}, but are '
            f'{", ".join(sorted(kinds)) or "none"}.'
        )
    return kinds.pop()


def make_data(folder: Path, kinds: Iterable[str]) -> None:
    """Make data in folders named after the types of data sets, where they are not there yet.

    Folders next to `folder` are removed: they hold data that other code has made.

    Args:
        folder: Where these folders go; named after the code.
        kinds: Types of data sets, as `made_kind` gives them.
    """
    for other in folder.parent.glob('*'):
        if other != folder and other.is_dir():
            shutil.rmtree(other)
    for kind in dict.fromkeys(kinds):
        root, unfinished = folder / kind, folder / f'.{kind}'
        if root.is_dir():
            continue
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        MAKERS[kind](unfinished)
        unfinished.rename(root)
