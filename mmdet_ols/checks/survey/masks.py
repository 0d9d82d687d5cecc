"""Whether the objects of a data set have the masks that its pipeline asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmdet_ols.checks.problems import Problems
from mmdet_ols.checks.survey.loaded import known_samples

ABSENT = 'have no `segmentation`, which LoadAnnotations(with_mask=True) needs'
FLAT = 'have a `segmentation` that is no list of polygons, [[x, y, x, y, ...], ...]'
UNUSABLE = 'have no polygon of three points or more, so that they are ignored'
REMEDIES = {
    ABSENT: 'Write the polygons of their outlines, or those of their boxes; or train a detector '
    'without masks, with_mask=False.',
    FLAT: 'Put each polygon into a list of its own.',
    UNUSABLE: 'Correct or remove them.',
}


def check_masks(dataset: Any) -> Problems:
    """Look at the masks of a loaded data set whose pipeline loads them.

    MMDetection stumbles over the first one that is absent when its image comes in the training.

    Args:
        dataset: The host's data set, loaded.
    """
    counts: dict[str, list[str]] = {}
    total = 0
    for info in known_samples(dataset):
        if not isinstance(info, Mapping):
            return Problems()
        for item in info.get('instances') or ():
            total += 1
            problem = _problem(item.get('mask'))
            if problem:
                counts.setdefault(problem, []).append(str(info.get('img_path')))
    problems = Problems()
    for problem, paths in counts.items():
        sentences = problems.warnings if problem == UNUSABLE else problems.errors
        sentences.append(
            f'{len(paths)} of {total} objects {problem} (first: one of {paths[0]}). '
            f'{REMEDIES[problem]}'
        )
    return problems


def _problem(mask: Any) -> str:
    if mask is None:
        return ABSENT
    if not isinstance(mask, list):  # run lengths
        return ''
    if not all(isinstance(polygon, (list, tuple)) for polygon in mask):
        return FLAT
    usable = (len(polygon) >= 6 and len(polygon) % 2 == 0 for polygon in mask)
    return '' if any(usable) else UNUSABLE
