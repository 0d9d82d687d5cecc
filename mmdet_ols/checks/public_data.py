"""Public data sets of classifiers: where to get them, and whether they lie where they should."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmdet_ols.checks.option_names import option_names
from mmdet_ols.config_tree import type_name


class Source(NamedTuple):
    """Where a public data set comes from.

    Args:
        page: Its official page.
        archives: What to download there.
        layouts: What `data_root` must hold once they are unpacked: one list of paths or another.
        note: What else there is to say.
    """

    page: str
    archives: str
    layouts: Sequence[Sequence[str]]
    note: str = ''


_AIRCRAFT = Source(
    'https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/',
    'fgvc-aircraft-2013b.tar.gz',
    [['data/images', 'data/images_variant_trainval.txt', 'data/images_variant_test.txt']],
)
#: By the names of MMPretrain's classes, and ours.
SOURCES = {
    'CIFAR10': Source(
        'https://www.cs.toronto.edu/~kriz/cifar.html',
        'cifar-10-python.tar.gz',
        [[f'cifar-10-batches-py/{name}' for name in ('data_batch_1', '...', 'test_batch')]],
    ),
    'CIFAR100': Source(
        'https://www.cs.toronto.edu/~kriz/cifar.html',
        'cifar-100-python.tar.gz',
        [[f'cifar-100-python/{name}' for name in ('train', 'test', 'meta')]],
    ),
    'ImageNet': Source(
        'https://www.image-net.org/challenges/LSVRC/2012/',
        'ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar (after registration)',
        [['train', 'val']],
        ' Each archive within the first becomes a folder train/WNID. Validation images lie in '
        'folders val/WNID, too, or directly in val, with their classes in meta/val.txt (one line '
        'NAME LABEL each, labels 0 to 999 in the order of the WNIDs).',
    ),
    'CUB': Source(
        'https://www.vision.caltech.edu/datasets/cub_200_2011/',
        'CUB_200_2011.tgz',
        [['images', 'images.txt', 'image_class_labels.txt', 'train_test_split.txt']],
    ),
    'Flowers102': Source(
        'https://www.robots.ox.ac.uk/~vgg/data/flowers/102/',
        '102flowers.tgz, imagelabels.mat and setid.mat',
        [['jpg', 'imagelabels.mat', 'setid.mat']],
    ),
    'StanfordCars': Source(
        'https://ai.stanford.edu/~jkrause/cars/car_dataset.html',
        'cars_train.tgz, cars_test.tgz, car_devkit.tgz and cars_test_annos_withlabels.mat (or '
        'car_ims.tgz and cars_annos.mat)',
        [
            ['cars_annos.mat', 'car_ims'],
            [
                'cars_train',
                'cars_test',
                'devkit/cars_train_annos.mat',
                'devkit/cars_test_annos_withlabels.mat',
            ],
        ],
        ' Should that page no longer give them, any copy in this layout will do.',
    ),
    'FGVCAircraft': _AIRCRAFT,
    'FGVCAircraft90': _AIRCRAFT,
}


def instructions(name: str, data_root: str) -> str:
    """Say what to download for a data set, and where to put it; nothing if that is not known.

    Args:
        name: Of the data set's class.
        data_root: The config's, absolute or not.
    """
    if name not in SOURCES:
        return ''
    page, archives, layouts, note = SOURCES[name]
    held = ', or '.join(', '.join(paths) for paths in layouts)
    return (
        f'Download {archives} from {page} and unpack, so that {_absolute(data_root)} holds {held}.'
        f'{note} If the data lie elsewhere, name their folder with {option_names().data_root}.'
    )


def check_files(dataset: Mapping[str, Any], where: str) -> None:
    """Make sure that a public data set lies where its config says.

    Args:
        dataset: The config; its class is one of `SOURCES`.
        where: What to call it in a message.

    Raises:
        FileNotFoundError: It does not, or only a part of it.
    """
    name, root = type_name(dataset), _absolute(dataset.get('data_root') or '')
    missing = [
        [path for path in paths if not (root / path).exists()] for paths in SOURCES[name].layouts
    ]
    if all(missing):
        fewest = min(missing, key=len)
        what = (
            f'{root} does not exist' if not root.is_dir() else f'{root} lacks {", ".join(fewest)}'
        )
        raise FileNotFoundError(f'{where}: {what}. {instructions(name, str(root))}')


def _absolute(path: str) -> Path:
    return Path(path).expanduser().absolute()
