"""Tiny data sets of noise in the layouts of the public ones."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

#: Means of red, green and blue, so different that they cannot be confused; each in a range of 100.
COLOURS = (200, 130, 60)


def pixels(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Noise in these colours, which are the last axis."""
    noise = rng.integers(-50, 51, (*shape, 3))
    return (noise + COLOURS).astype(np.uint8)


def image(path: Path, seed: int = 0, size: tuple[int, int] = (40, 30)) -> None:
    """Write an image of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(np.random.default_rng(seed), *size[::-1])).save(path)


def lines(path: Path, *rows: str) -> None:
    """Write the lines of a text file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join(rows) + '\n')


def cifar(
    root: Path,
    num_classes: int,
    train: Sequence[int] | None = None,
    test: Sequence[int] | None = None,
) -> None:
    """CIFAR's pickles, whose MD5 sums are not those that MMPretrain asks for.

    Args:
        root: Where they go.
        num_classes: 10 or 100.
        train: Labels of the images of each training file; None is those of 40 images.
        test: Labels of the test images.
    """
    rng = np.random.default_rng(0)
    folder, key, files = {
        10: ('cifar-10-batches-py', 'labels', [*(f'data_batch_{n}' for n in range(1, 6))]),
        100: ('cifar-100-python', 'fine_labels', ['train']),
    }[num_classes]
    for name in (*files, 'test_batch' if num_classes == 10 else 'test'):
        labels = test if name.startswith('test') else train
        labels = [n % num_classes for n in range(40)] if labels is None else list(labels)
        path = Path(root, folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        planes = pixels(rng, len(labels), 32, 32).transpose(0, 3, 1, 2)
        data = np.ascontiguousarray(planes).reshape(len(labels), 3072)
        path.write_bytes(pickle.dumps({'data': data, key: labels}))


def cifar10h(root: Path, labels: Sequence[int]) -> None:
    """What people saw in CIFAR-10's test images: mostly what their labels say."""
    probabilities = np.full((len(labels), 10), 0.01)
    probabilities[np.arange(len(labels)), list(labels)] = 0.91
    path = root / 'meta/cifar10h-probs.npy'
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, probabilities)


def imagenet(root: Path, times: int = 1) -> None:
    """ImageNet with lists of its images, so that there need not be a thousand folders.

    Args:
        root: Where it goes.
        times: How often there are three images to train and two to validate.
    """
    for split, names in dict(train=('n01/a', 'n02/b', 'n02/c'), val=('d', 'e')).items():
        rows = []
        for repeated in range(times):
            for n, name in enumerate(names):
                file = f'{name}{repeated or ""}.JPEG'
                image(root / split / file, n + 10 * repeated, (60, 80))
                rows.append(f'{file} {n * 499}')
        lines(root / f'meta/{split}.txt', *rows)


def cub(root: Path, times: int = 1) -> None:
    """CUB-200-2011: the last third of the images of its first and last class is for the test.

    Args:
        root: Where it goes.
        times: How often there are four images to train and two to test.
    """
    rows = [(label, n) for label in (1, 200) for n in range(3 * times)]
    names = [f'{label:03d}.Bird/{n}.jpg' for label, n in rows]
    for n, name in enumerate(names):
        image(root / 'images' / name, n)
    lines(root / 'images.txt', *(f'{n} {name}' for n, name in enumerate(names, 1)))
    labels = (f'{n} {label}' for n, (label, _) in enumerate(rows, 1))
    lines(root / 'image_class_labels.txt', *labels)
    splits = (f'{n} {int(of_class < 2 * times)}' for n, (_, of_class) in enumerate(rows, 1))
    lines(root / 'train_test_split.txt', *splits)


def flowers(root: Path, times: int = 1) -> None:
    """Flowers-102.

    Args:
        root: Where it goes.
        times: How often there are three images to train, two to validate and three to test.
    """
    from scipy.io import savemat

    for n in range(1, 8 * times + 1):
        image(root / f'jpg/image_{n:05d}.jpg', n)
    savemat(root / 'imagelabels.mat', {'labels': [[1, 2, 102, 1, 102, 2, 102, 1] * times]})
    numbers = {'trnid': (1, 3, 5), 'valid': (2, 4), 'tstid': (6, 7, 8)}
    ids = {key: [[n + 8 * t for t in range(times) for n in of]] for key, of in numbers.items()}
    savemat(root / 'setid.mat', ids)


def cars(root: Path, times: int = 1) -> None:
    """Stanford Cars.

    Args:
        root: Where it goes.
        times: How often there are three images to train and three to test.
    """
    from scipy.io import savemat

    for split, name in (('train', 'cars_train_annos'), ('test', 'cars_test_annos_withlabels')):
        fields = [('class', 'O'), ('fname', 'O')]
        files = [f'{n:05d}.jpg' for n in range(1, 3 * times + 1)]
        for n, file in enumerate(files):
            image(root / f'cars_{split}' / file, n)
        rows = np.array([list(zip((1, 196, 2) * times, files))], dtype=fields)
        (root / 'devkit').mkdir(exist_ok=True)
        savemat(root / 'devkit' / f'{name}.mat', {'annotations': rows})


def aircraft(root: Path, times: int = 1) -> None:
    """FGVC Aircraft: Cessna 172 and 208 (one class in the paper), and the last variant.

    Args:
        root: Where it goes.
        times: How often there are three images to train and three to test.
    """
    for split, first in (('trainval', 1), ('test', 3 * times + 1)):
        ids = [f'{first + n:07d}' for n in range(3 * times)]
        for n, name in enumerate(ids):
            image(root / f'data/images/{name}.jpg', n)
        variants = ('Cessna 172', 'Cessna 208', 'Yak-42') * times
        rows = (f'{name} {variant}' for name, variant in zip(ids, variants))
        lines(root / f'data/images_variant_{split}.txt', *rows)


def voc(root: Path, classes: Sequence[str], images: int = 4) -> None:
    """VOC2007 and VOC2012, with two objects in each image.

    Args:
        root: A VOCdevkit.
        classes: Names of the objects' classes.
        images: How many there are in each split.
    """
    from mmdet_ols.datasets.demo_voc.layout import write_image, write_split
    from mmdet_ols.datasets.demo_voc.scenes import DemoObject

    rng = np.random.default_rng(0)
    for split in ('VOC2007/trainval', 'VOC2012/trainval', 'VOC2007/test'):
        write_split(root, split, images)
        for index in range(images):
            names = (classes[index % len(classes)], classes[0])
            boxes = ((10, 10, 60, 70), (70, 20, 120, 90))
            objects = [DemoObject(name, box, False, False) for name, box in zip(names, boxes)]
            write_image(root, split, index, Image.fromarray(pixels(rng, 100, 130)), objects)
