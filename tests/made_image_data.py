"""Tiny data sets in the layouts of the public ones."""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from mmdet_ols.datasets.tree import walk_datasets

CIFAR10 = (
    'airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck',
)  # fmt: skip


#: Means of red, green and blue, so different that they cannot be confused; each in a range of 100.
COLOURS = (200, 130, 60)


def pixels(rng, *shape):
    """Noise in these colours, which are the last axis."""
    noise = rng.integers(-50, 51, (*shape, 3))
    return (noise + COLOURS).astype(np.uint8)


def image(path, seed=0, size=(40, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(np.random.default_rng(seed), *size[::-1])).save(path)


def lines(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join(rows) + '\n')


def cifar(root, num_classes, per_batch=40):
    """CIFAR's pickles. A test must switch off MMPretrain's check of their MD5 sums."""
    rng = np.random.default_rng(0)
    folder, labels, files = {
        10: ('cifar-10-batches-py', 'labels', [*(f'data_batch_{n}' for n in range(1, 6))]),
        100: ('cifar-100-python', 'fine_labels', ['train']),
    }[num_classes]
    test = 'test_batch' if num_classes == 10 else 'test'
    for name in [*files, test]:
        path = Path(root, folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        planes = pixels(rng, per_batch, 32, 32).transpose(0, 3, 1, 2)
        data = np.ascontiguousarray(planes).reshape(per_batch, 3072)
        target = (np.arange(per_batch) % num_classes).tolist()
        path.write_bytes(pickle.dumps({'data': data, labels: target}))


def cifar10(root):
    cifar(root, 10)


def cifar100(root):
    cifar(root, 100)


def cifar10_folder(root):
    for label, name in enumerate(CIFAR10):
        for n in range(4):
            image(root / 'train' / name / f'{n:04d}.png', 10 * label + n, (32, 32))
        image(root / 'test' / f'{label:05d}.png', 99 - label, (32, 32))
    lines(root / 'meta/test.txt', *(f'{label:05d}.png {label}' for label in range(10)))


def cifar10n(root):
    """Every other label is wrong in one of the columns."""
    cifar10_folder(root)
    names = [(label, f'{name}/{n:04d}.png') for label, name in enumerate(CIFAR10) for n in range(4)]
    rows = [f'{name} {label} {(label + n % 2) % 10}' for n, (label, name) in enumerate(names)]
    text = '\n'.join(['# image clean worst', *rows])
    (root / 'meta/cifar10n.txt.gz').write_bytes(gzip.compress(text.encode()))


def imagenet(root):
    """With lists of the images, so that there need not be a thousand folders."""
    for split, names in dict(train=('n01/a', 'n02/b', 'n02/c'), val=('d', 'e')).items():
        for n, name in enumerate(names):
            image(root / split / f'{name}.JPEG', n, (60, 80))
        lines(
            root / f'meta/{split}.txt', *(f'{name}.JPEG {n * 499}' for n, name in enumerate(names))
        )


def cub(root):
    """The last image of each class is for the test."""
    names = [f'{label:03d}.Bird/{n}.jpg' for label in (1, 200) for n in range(3)]
    for n, name in enumerate(names):
        image(root / 'images' / name, n)
    ids = range(1, len(names) + 1)
    lines(root / 'images.txt', *(f'{n} {name}' for n, name in zip(ids, names)))
    lines(root / 'image_class_labels.txt', *(f'{n} {1 if n < 4 else 200}' for n in ids))
    lines(root / 'train_test_split.txt', *(f'{n} {int(n % 3 != 0)}' for n in ids))


def flowers(root):
    """Three images to train, two to validate, three to test."""
    for n in range(1, 9):
        image(root / f'jpg/image_{n:05d}.jpg', n)
    savemat(root / 'imagelabels.mat', {'labels': [[1, 2, 102, 1, 102, 2, 102, 1]]})
    ids = {'trnid': [[1, 3, 5]], 'valid': [[2, 4]], 'tstid': [[6, 7, 8]]}
    savemat(root / 'setid.mat', ids)


def cars(root):
    for split, name in (('train', 'cars_train_annos'), ('test', 'cars_test_annos_withlabels')):
        fields = [('class', 'O'), ('fname', 'O')]
        files = [f'{n:05d}.jpg' for n in range(1, 4)]
        for n, file in enumerate(files):
            image(root / f'cars_{split}' / file, n)
        rows = np.array([list(zip((1, 196, 2), files))], dtype=fields)
        (root / 'devkit').mkdir(exist_ok=True)
        savemat(root / 'devkit' / f'{name}.mat', {'annotations': rows})


def aircraft(root):
    """Cessna 172 and 208 (24 and 25 of the 100), one class in the paper; and the last variant."""
    for split, first in (('trainval', 1), ('test', 4)):
        ids = [f'{first + n:07d}' for n in range(3)]
        for n, name in enumerate(ids):
            image(root / f'data/images/{name}.jpg', n)
        variants = ('Cessna 172', 'Cessna 208', 'Yak-42')
        rows = (f'{name} {variant}' for name, variant in zip(ids, variants))
        lines(root / f'data/images_variant_{split}.txt', *rows)


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
