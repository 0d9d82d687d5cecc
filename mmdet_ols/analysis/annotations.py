"""The annotated objects of a split, or the labelled images of a classification data set."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mmengine.config import Config

from mmdet_ols.analysis.split_data import evenly_spaced, inference_pipeline, split_datasets
from mmdet_ols.checks.survey.loaded import decoding

#: Intersection over union above which two objects are in the same place, and above which two boxes
#: are those of one object.
MIN_OVERLAP, SAME_BOX = 0.2, 0.85


class Annotation(NamedTuple):
    """An annotated object, or an image of a classification data set."""

    #: The file; for data sets that hold arrays, the data set and the image's index.
    image: str
    #: Its position among the objects of the image that are of the config's classes, from 0.
    number: int
    #: (x0, y0, x1, y1) in pixels of the file; None is the whole image.
    box: tuple[float, float, float, float] | None
    label: int
    #: The index of the image among all of the split.
    sample: int
    #: The image, where the data set holds arrays instead of files.
    pixels: np.ndarray | None = None
    #: Whether the file is turned by its EXIF orientation when it is loaded.
    is_turned: bool = True

    @property
    def file(self) -> str:
        """The file's name; of a whole image with its folder, as each class may have its own."""
        return '/'.join(Path(self.image).parts[-2 if self.box is None else -1 :])


def read_annotations(cfg: Config, split: str = 'train', max_images: int = 0) -> list[Annotation]:
    """Read every annotated object of a split, except those to be ignored (difficult, crowds).

    Args:
        cfg: Config of MMDetection or MMPretrain.
        split: 'train', 'val' or 'test'.
        max_images: Take this many images at most, evenly spaced over the split; 0 takes all.

    Raises:
        ValueError: The split has no data set, or its data set has neither boxes nor image labels,
            or several labels an image.
        FileNotFoundError: The data are not where the config says.
    """
    datasets = split_datasets(cfg, split, pipeline=[])
    images = [(dataset, index) for dataset in datasets for index in range(len(dataset))]
    is_turned = decoding(dict(pipeline=inference_pipeline(cfg))).are_turned
    annotations = []
    for sample in evenly_spaced(len(images), max_images):
        dataset, index = images[sample]
        # Without a pipeline, a user's wrapper that lacks `get_data_info` gives the same.
        give = getattr(dataset, 'get_data_info', dataset.__getitem__)
        info = give(index)
        image = str(info.get('img_path') or f'{type(dataset).__name__} {index}')
        place = Annotation(image, 0, None, -1, sample, info.get('img'), is_turned)
        annotations += _annotations_of_image(info, place, split)
    if not annotations:
        raise ValueError(
            f'The {split} data of the config have neither boxes nor class labels, so there is '
            'nothing to compare predictions with.'
        )
    return annotations


def classes_of_neighbours(annotations: list[Annotation], num_classes: int) -> np.ndarray:
    """Which classes are annotated where an object is, other than by its own annotation.

    A network that gives a high score for such a class has seen the neighbour: the cow in front of
    the car, the child in the chair. Two annotations with all but the same box are no neighbours,
    but one object with two labels.

    Args:
        annotations: Of a split, those of an image next to each other.
        num_classes: C.

    Returns:
        (n, C) bool: whether another object of the class overlaps this one, or covers its centre.
    """
    result = np.zeros((len(annotations), num_classes), dtype=bool)
    start = 0
    for _, group in itertools.groupby(annotations, key=lambda annotation: annotation.sample):
        image = list(group)
        rows = slice(start, start + len(image))
        start += len(image)
        if image[0].box is None:
            continue
        boxes = np.array([annotation.box for annotation in image])
        labels = np.array([annotation.label for annotation in image])
        low, high = boxes[:, :2], boxes[:, 2:]
        both = np.minimum(high[:, None], high) - np.maximum(low[:, None], low)
        shared = both.clip(min=0).prod(2)
        area = (high - low).prod(1)
        overlap = shared / (area[:, None] + area - shared).clip(min=1e-9)
        centre = (low + high) / 2
        covers = ((low <= centre[:, None]) & (centre[:, None] <= high)).all(2)
        here = ((overlap > MIN_OVERLAP) | covers) & (overlap < SAME_BOX)
        np.fill_diagonal(here, False)
        result[rows] = here.astype(int) @ np.eye(num_classes, dtype=int)[labels] > 0
    return result


def _annotations_of_image(info: dict[str, Any], place: Annotation, split: str) -> list[Annotation]:
    """The annotations of an image, of which `place` says the rest."""
    annotations = []
    if 'gt_label' in info:
        # Of several tasks, MMPretrain's MultiTaskDataset gives a dict.
        if np.ndim(info['gt_label']) or isinstance(info['gt_label'], dict):
            raise ValueError(
                f'The {split} data have several labels an image ({place.image}: '
                f'{info["gt_label"]}), but only data with one label an image, or with boxes, can '
                'be examined.'
            )
        annotations.append(place._replace(label=int(info['gt_label'])))
    for number, item in enumerate(info.get('instances', ())):
        if not item.get('ignore_flag', 0):
            x0, y0, x1, y1 = (float(edge) for edge in item['bbox'])
            box, label = (x0, y0, x1, y1), int(item['bbox_label'])
            annotations.append(place._replace(number=number, box=box, label=label))
    return annotations
