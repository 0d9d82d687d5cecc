"""Labelling mistakes on purpose, for testing what finds them."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mmdet_ols.datasets.demo_voc.layout import DEFAULT_NUM_IMAGES, annotation_path
from mmdet_ols.datasets.demo_voc.shapes import CLASSES

WRONG_LABELS = 'wrong_labels.json'


def write_wrong_labels(
    root: Path,
    counts: Mapping[str, int],
    seed: int,
    share: float,
    objects: dict[str, dict[str, int]],
) -> None:
    """Give some objects of the trainval splits another class, and list them in a file.

    Args:
        root: Folder of the finished set.
        counts: Number of images of each split.
        seed: Seed of the set.
        share: Share of the objects that get another class.
        objects: Number of objects of each split and class; it is brought up to date.
    """
    paths = {
        annotation_path(root, split, index): split
        for split in counts
        if split.endswith('/trainval')
        for index in range(counts[split])
    }
    trees = {path: ET.parse(path) for path in paths}
    places = [
        (path, place)
        for path, tree in trees.items()
        for place in range(len(tree.findall('object')))
    ]
    rng = np.random.default_rng([seed, len(DEFAULT_NUM_IMAGES)])  # a stream that no image has
    chosen = sorted(rng.choice(len(places), round(share * len(places)), replace=False))
    mistakes = []
    for path, place in (places[index] for index in chosen):
        node = trees[path].findall('object')[place].find('name')
        assert node is not None and node.text
        true = node.text
        node.text = str(rng.choice([name for name in CLASSES if name != true]))
        objects[paths[path]][true] -= 1
        objects[paths[path]][node.text] += 1
        image = f'{path.parts[-3]}/{path.stem}'
        mistakes.append({'image': image, 'object': place, 'true': true, 'written': node.text})
        trees[path].write(path, encoding='utf-8')
    (root / WRONG_LABELS).write_text(json.dumps(mistakes, indent=1) + '\n')
