"""What COCO's evaluation needs of the annotations that a metric compares predictions with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mmdet_ols.checks.logs import warn

#: What the evaluation reads of an annotation, how, what it must be, and what to do.
NEEDED: tuple[tuple[str, Callable[[Any], Any], str], ...] = (
    ('iscrowd', int, "must have 'iscrowd', 0 or 1: write 0 for ordinary objects"),
    ('id', float, "must have an 'id' that is a number: number them from 1"),
    ('area', float, "must have an 'area': write width * height of the box, or that of the mask"),
)


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
    nulls = sum(float(item['id']) == 0 for item in annotations)
    if nulls:
        warn(
            f"`ann_file` of {name}: {nulls} annotation has the id 0, by which COCO's evaluation "
            'means that a detection hit nothing, so that it counts as missed even where it was '
            'detected: number the annotations from 1.',
        )


def _is_readable(item: dict[str, Any], key: str, read: Callable[[Any], Any]) -> bool:
    try:
        read(item[key])
    except (KeyError, TypeError, ValueError):
        return False
    return True
