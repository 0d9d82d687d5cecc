"""Whether the config of a data set names its classes as the hosts understand it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def check_class_lists(dataset: Mapping[str, Any], where: str) -> None:
    """Look at `metainfo.classes` of a data set, before the host takes it as something else.

    Args:
        dataset: The config of an innermost data set.
        where: What to call it in a message.

    Raises:
        ValueError: It is a string and no file of names, holds something else than names, names a
            class twice or like a variable of a config, or stands under its old name.
    """
    metainfo = dataset.get('metainfo') or {}
    if not isinstance(metainfo, Mapping):
        raise ValueError(
            f'`metainfo` of {where} must be a dict, but is {metainfo!r}: write '
            "metainfo=dict(classes=('cat', 'dog'))."
        )
    if 'classes' not in metainfo and 'CLASSES' in metainfo:
        raise ValueError(
            f'`metainfo` of {where} names CLASSES, as MMDetection 2 did, which the host no longer '
            'reads: write classes in small letters.'
        )
    for key, classes in (
        ('metainfo.classes', metainfo.get('classes')),
        ('classes', dataset.get('classes')),
    ):
        if classes is not None:
            _check_list(key, classes, where)


def _check_list(key: str, classes: Any, where: str) -> None:
    if isinstance(classes, str):
        if Path(classes).expanduser().is_file():  # which MMEngine reads, one name a line
            return
        raise ValueError(
            f'`{key}` of {where} must be a tuple of names, but is the string {classes!r}, which '
            f"the host takes letter by letter: with one class, write ('{classes}',) with a comma; "
            'with a file of names, one that exists.'
        )
    if not isinstance(classes, (list, tuple)) or not all(isinstance(n, str) for n in classes):
        raise ValueError(
            f'`{key}` of {where} must be a tuple of names, but is {classes!r}: write '
            "('cat', 'dog')."
        )
    variables = [name for name in classes if '{{' in name]
    if variables:
        raise ValueError(
            f"`{key}` of {where} must not contain '{{{{', which configs read as the start of a "
            f'variable, but names {variables[0]!r}: rename the class in the annotations.'
        )
    twice = [name for name, count in Counter(classes).items() if count > 1]
    if twice:
        raise ValueError(
            f'`{key}` of {where} names {", ".join(map(repr, twice[:5]))} more than once: name each '
            'class once, and give the head as many.'
        )
