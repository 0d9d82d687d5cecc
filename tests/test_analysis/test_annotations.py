"""Which annotations of a split are read, against a parser of its own."""

from __future__ import annotations

import re
from pathlib import Path
from xml.dom import minidom

import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS
from torch.utils.data import Subset
from toy_arrays import arrays

from mmdet_ols.analysis.annotations import (
    Annotation,
    classes_of_neighbours,
    read_annotations,
)
from mmdet_ols.datasets.demo_voc import CLASSES


def test_annotations_are_read_once_without_the_ignored(cfg):
    root = Path(cfg.test_dataloader.dataset.data_root)
    expected = []
    for year, names in (('VOC2007', range(1, 7)), ('VOC2012', range(1, 5))):
        for name in names:
            stem = f'{name:06d}' if year == 'VOC2007' else f'2012_{name:06d}'
            document = minidom.parse(str(root / year / 'Annotations' / f'{stem}.xml'))
            for number, node in enumerate(document.getElementsByTagName('object')):
                text = {
                    tag: node.getElementsByTagName(tag)[0].firstChild.data
                    for tag in ('name', 'difficult', 'xmin', 'ymin', 'xmax', 'ymax')
                }
                if text['difficult'] == '0':
                    # MMDetection takes 1 off all four.
                    box = tuple(float(text[key]) - 1 for key in ('xmin', 'ymin', 'xmax', 'ymax'))
                    label = CLASSES.index(text['name'])
                    image = str(root / year / 'JPEGImages' / f'{stem}.jpg')
                    sample = name - 1 if year == 'VOC2007' else name + 5
                    expected.append(Annotation(image, number, box, label, sample))
    assert read_annotations(cfg) == expected
    assert any(item.number != 0 for item in expected)


@pytest.mark.parametrize('color_type', ['color', 'color_ignore_orientation'])
def test_annotations_know_whether_their_images_are_turned(cfg, color_type):
    cfg.test_dataloader.dataset.pipeline[0].color_type = color_type
    assert {item.is_turned for item in read_annotations(cfg)} == {color_type == 'color'}


def test_images_of_the_same_name_are_told_apart_by_the_folder_of_their_class():
    whole, boxed = Annotation('/data/cat/1.png', 0, None, 0, 0), (0, 0, 1, 1)
    assert [whole.file, whole._replace(box=boxed).file] == ['cat/1.png', '1.png']
    assert whole._replace(image='CIFAR10 7').file == 'CIFAR10 7'


def test_unknown_split_is_named(cfg):
    with pytest.raises(ValueError, match='no data set for val: `val_dataloader` is empty'):
        read_annotations(cfg, 'val')


def test_images_are_spread_over_the_split(cfg):
    images = list(dict.fromkeys(item.image for item in read_annotations(cfg)))
    few = list(dict.fromkeys(item.image for item in read_annotations(cfg, max_images=3)))
    assert few == [images[0], images[4], images[9]]


def test_images_without_files_are_known_by_their_place():
    actual = read_annotations(arrays([1, 0, 1]))
    assert [item.image for item in actual] == [f'Arrays {index}' for index in (0, 1, 2, 0, 1)]
    assert [(item.label, item.sample) for item in actual] == [
        (1, 0),
        (0, 1),
        (1, 2),
        (1, 3),
        (0, 4),
    ]
    assert actual[2].pixels.mean() == 2


@pytest.mark.parametrize('labels', [[0, 1], dict(kind=0, colour=1)])
def test_several_labels_an_image_are_refused(labels):
    message = f'train data have several labels .*Arrays 1: {re.escape(str(labels))}'
    with pytest.raises(ValueError, match=message):
        read_annotations(arrays([1, labels, 0]))


def test_labels_are_those_that_the_run_learned_from():
    """Behind the wrappers that select samples and make labels wrong, by the run's seed."""
    labels = [0] * 9 + [1] * 7
    cfg = arrays(labels)
    plain = dict(cfg.train_dataloader.dataset.datasets[0], metainfo=dict(classes=('a', 'b')))
    noisy = dict(
        type='NoisyLabelDataset',
        rate=0.5,
        dataset=dict(type='BalancedSubset', samples_per_class=6, dataset=plain),
    )
    cfg.train_dataloader.dataset = dict(
        type='RepeatDataset',
        times=2,
        dataset=dict(
            type='InMemoryDataset',
            dataset=noisy,
            batch_transforms=[dict(type='BatchRandomFlip', prob=0.5)],
        ),
    )
    with pytest.raises(ValueError, match=r'made wrong is not known.*randomness.seed=N'):
        read_annotations(cfg)
    cfg.randomness = dict(seed=7)
    torch.manual_seed(7)  # as MMEngine's Runner does
    learned = DATASETS.build(noisy).noisy_labels.tolist()
    assert learned != labels[:6] + labels[9:15]
    torch.manual_seed(8)
    actual = read_annotations(cfg)
    assert [item.label for item in actual] == learned
    assert [int(item.pixels.mean()) for item in actual] == [*range(6), *range(9, 15)]
    cfg.train_dataloader.dataset.dataset.dataset.seed = 3
    learned = DATASETS.build(dict(noisy, seed=3)).noisy_labels.tolist()
    assert [item.label for item in read_annotations(cfg)] == learned


@DATASETS.register_module()
class EveryThird(Subset):
    """A user's wrapper, which has only what PyTorch asks for."""

    def __init__(self, dataset):
        built = DATASETS.build(dataset)
        super().__init__(built, range(0, len(built), 3))


FOLD = dict(type='mmpretrain.KFoldDataset', fold=1, num_splits=3, seed=7)


@pytest.mark.parametrize(
    'wrapped',
    [
        lambda plain: dict(FOLD, dataset=plain),
        lambda plain: dict(FOLD, dataset=plain, test_mode=True),
        lambda plain: dict(plain, indices=5),
        lambda plain: dict(plain, indices=[7, 2, 4]),
        lambda plain: dict(FOLD, dataset=dict(plain, indices=[7, 2, 4, 1, 0])),
        lambda plain: dict(type='EveryThird', dataset=plain),
        lambda plain: dict(
            type='RepeatDataset',
            times=2,
            dataset=dict(type='ConcatDataset', datasets=[dict(FOLD, dataset=plain), plain]),
        ),
        lambda plain: dict(
            type='ClassBalancedDataset', oversample_thr=0.9, dataset=dict(FOLD, dataset=plain)
        ),
    ],
)
def test_the_images_are_those_that_the_network_saw(wrapped):
    """As the very data set of the run gives them, each once."""
    cfg = arrays([0, 1, 0, 0, 1, 0, 1, 0, 0])
    plain = cfg.train_dataloader.dataset.datasets[0]
    cfg.train_dataloader.dataset = wrapped(plain)
    trained_on = DATASETS.build(wrapped(dict(plain, pipeline=[])))
    seen = [trained_on[index] for index in range(len(trained_on))]
    expected = sorted({(int(info['img'].mean()), info['gt_label']) for info in seen})
    items = read_annotations(cfg)
    assert sorted({(int(item.pixels.mean()), item.label) for item in items}) == expected


def objects(*boxes_and_labels, sample=0):
    return [
        Annotation('', number, box, label, sample)
        for number, (box, label) in enumerate(boxes_and_labels)
    ]


def test_neighbours_overlap_or_cover_the_centre():
    car, cow = (0, 0, 100, 60), (40, 10, 80, 60)
    plate, far = (48, 50, 52, 54), (90, 50, 140, 100)
    image = objects((car, 0), (cow, 1), (plate, 2), (far, 3))
    assert classes_of_neighbours(image, 5).tolist() == [
        [False, True, False, False, False],  # the plate is small and below the centre
        [True, False, False, False, False],
        [True, True, False, False, False],  # inside of both
        [False, False, False, False, False],  # overlaps the car by 100 of 8400
    ]


def test_one_object_with_two_labels_has_no_neighbour():
    """Which is a mistake of its own, and stays a suspect."""
    twice = objects(((0, 0, 50, 50), 0), ((0, 1, 50, 50), 1))
    assert not classes_of_neighbours(twice, 2).any()


def test_neighbours_are_in_the_same_image():
    box = (0, 0, 50, 50)
    images = objects((box, 0)) + objects(((0, 0, 50, 40), 1), sample=1)
    assert not classes_of_neighbours(images, 2).any()
    whole = [Annotation('', 0, None, 0, 2), Annotation('', 0, None, 1, 3)]
    assert classes_of_neighbours(images + whole, 2).tolist() == np.zeros((4, 2), bool).tolist()
