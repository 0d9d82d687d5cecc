"""Checking the annotations of detectors before a training starts: VOC's XML and COCO's JSON."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import ConfigDict
from mmengine.fileio import list_from_file
from mmengine.logging import print_log
from rich.progress import track

from mmdet_ols.checks.folders import listing
from mmdet_ols.datasets.voc_annotations import read_annotation

#: A list of at least this many files gets a progress bar.
LONG = 2000


def count_xml_objects(
    dataset: ConfigDict, folder: Path, ann_file: Path, split: str
) -> Counter[str]:
    """Count the objects of each class in the XML annotations that a list names.

    Args:
        dataset: The config.
        folder: What holds the folders of annotations and images.
        ann_file: The list of image names.
        split: What the bar calls it.

    Raises:
        FileNotFoundError: An annotation or an image does not exist.
        ValueError: The list is empty, or an annotation is broken.
    """
    annotations = folder / dataset.get('ann_subdir', 'Annotations')
    images = folder / dataset.get('img_subdir', 'JPEGImages')
    counts: Counter[str] = Counter()
    empty_boxes = 0
    names = [line.strip() for line in list_from_file(ann_file) if line.strip()]
    if not names:
        raise ValueError(f'The split {ann_file} is empty: it must hold one image name a line.')
    bar = track(names, f'Checking {split} annotations', transient=True, disable=len(names) < LONG)
    for name in bar:
        for path in (annotations / f'{name}.xml', images / f'{name}.jpg'):
            if not path.is_file():
                raise FileNotFoundError(
                    f'{ann_file} names {name}, but {path} does not exist. Found: {listing(path)}.'
                )
        annotation = read_annotation(annotations / f'{name}.xml')
        counts += annotation.count_names()
        empty_boxes += sum(not item.has_area for item in annotation.objects)
    if empty_boxes:
        print_log(
            f'{ann_file}: {empty_boxes} boxes have no area (xmax <= xmin or ymax <= ymin).',
            logger='current',
            level=logging.WARNING,
        )
    return counts


def count_coco_objects(ann_file: Path) -> Counter[str]:
    """Count the objects of each class in a JSON file of COCO's format.

    Raises:
        ValueError: The file is not in this format.
    """
    try:
        content = json.loads(ann_file.read_text())
        names = {category['id']: category['name'] for category in content['categories']}
        return Counter(names[item['category_id']] for item in content.get('annotations', []))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"The annotation file {ann_file} is not in COCO's format ({error!r})."
        ) from error


def check_class_names(
    counts: Counter[str], classes: Sequence[str], where: str, ann_file: Path, strict: bool
) -> None:
    """Compare the classes of annotations with those that the config names.

    MMDetection leaves objects of other classes out without a word; this reports how many.

    Args:
        counts: The number of objects of each class.
        classes: The classes that the data set will use.
        where: What to call the data set in a message.
        ann_file: The annotations.
        strict: Whether objects of other classes are an error and not a warning.

    Raises:
        ValueError: There are objects of other classes (`strict`), or of no named class.
    """
    unknown = {name: count for name, count in counts.most_common() if name not in classes}
    if not unknown:
        return
    listed = ', '.join(f'{name} ({count})' for name, count in list(unknown.items())[:10])
    message = (
        f'{ann_file} ({where}) holds {sum(unknown.values())} objects of {len(unknown)} classes '
        f'that `metainfo.classes` of the config does not name: {listed}. '
    )
    if len(unknown) == len(counts):
        raise ValueError(
            f'{message}It names {", ".join(classes[:10])}, so nothing is left to learn from: set '
            'metainfo=dict(classes=...) in the data sets and num_classes in the head.'
        )
    if strict:
        raise ValueError(message + 'Name them, or leave --strict-classes out.')
    print_log(message + 'They are left out.', logger='current', level=logging.WARNING)
