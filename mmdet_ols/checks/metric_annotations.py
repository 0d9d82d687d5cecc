"""Whether the annotations that a metric evaluates with are those of the data, and whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmdet_ols.checks.logs import warn

#: What the evaluation reads of an annotation, how, what it must be, and what to do.
NEEDED: tuple[tuple[str, Callable[[Any], Any], str], ...] = (
    ('iscrowd', int, "must have 'iscrowd', 0 or 1: write 0 for ordinary objects"),
    ('id', float, "must have an 'id' that is a number: number them from 1"),
    ('area', float, "must have an 'area': write width * height of the box, or that of the mask"),
)
#: So many images of the data set are looked up in the annotations.
MAX_IMAGES = 200


def check_ground_truth(metric: Any, name: str) -> None:
    """Look at all annotations of a metric for what would end, or falsify, an evaluation.

    A trial with one image cannot see it: MMDetection loads such files, and COCO's code reads an
    annotation only once something was detected in its image.

    Args:
        metric: MMDetection's `CocoMetric`, built. Nothing is checked if it takes the annotations
            from the data set.
        name: What to call it in a message.

    Raises:
        ValueError: The evaluation would end with a traceback.
    """
    content = getattr(getattr(metric, '_coco_api', None), 'dataset', None) or {}
    annotations = [item for item in content.get('annotations') or () if not item.get('ignore')]
    problems = []
    for key, read, rule in NEEDED:
        wrong = [item for item in annotations if not _is_readable(item, key, read)]
        if wrong:
            problems.append(
                f'{len(wrong)} of {len(annotations)} annotations {rule} (first: annotation '
                f'{wrong[0].get("id")!r} of image {wrong[0].get("image_id")!r} has '
                f'{wrong[0].get(key)!r})'
            )
    if problems:
        raise ValueError(
            f"`ann_file` of {name} would end COCO's evaluation with a traceback: "
            f'{"; ".join(problems)}.'
        )
    if any(float(item['id']) == 0 for item in annotations):
        warn(
            f"`ann_file` of {name} has an annotation with the id 0, by which COCO's evaluation "
            'means that a detection hit nothing, so that the object counts as missed even where '
            'it was detected: number the annotations from 1.',
        )


def check_images(metric: Any, entry: dict, dataset: Any, name: str, where: str) -> None:
    """Compare the images of a metric's COCO file with those of the data set.

    Two files often give their images the same numbers, so that a wrong one goes unnoticed.

    Args:
        metric: As for `check_ground_truth`.
        entry: Its config.
        dataset: The data set, loaded.
        name: What to call the metric in a message.
        where: What to call the data set.

    Raises:
        ValueError: They are others.
    """
    coco = getattr(metric, '_coco_api', None)
    if coco is None or not hasattr(dataset, 'get_data_info'):
        return
    step = max(len(dataset) // MAX_IMAGES, 1)
    for index in range(0, len(dataset), step):
        info = dataset.get_data_info(index)
        number, path = info.get('img_id'), info.get('img_path')
        there = (coco.imgs.get(number) or {}).get('file_name')
        if path and there is not None and Path(there).name == Path(path).name:
            continue
        if path:
            raise ValueError(
                f'`ann_file` of {name} must be that of {where}, but image {number} of the data set '
                f'is {Path(path).name}, and {entry["ann_file"]} has '
                f'{there or "no image of that number"}: write the same file in both.'
            )


def _is_readable(item: dict[str, Any], key: str, read: Callable[[Any], Any]) -> bool:
    try:
        read(item[key])
    except (KeyError, TypeError, ValueError):
        return False
    return True
