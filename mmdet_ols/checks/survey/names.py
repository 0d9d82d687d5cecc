"""Noticing class names that are written in two ways."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence

from mmdet_ols.checks.problems import MOST
from mmdet_ols.checks.survey.records import SplitSurvey


def near_duplicates(surveys: Sequence[SplitSurvey]) -> list[str]:
    """Warn of class names that differ only in case, blanks, hyphens or the form of their letters.

    Those of the files count as well as those that the network will learn.
    """
    counts: Counter[str] = Counter()
    for survey in surveys:
        for dataset in survey.datasets:
            if dataset.contents is not None:
                counts.update(dataset.contents.objects)
            if dataset.loaded is not None:
                counts.update(dict.fromkeys(dataset.loaded.classes, 0))
    alike: dict[str, list[str]] = defaultdict(list)
    for name in counts:  # A and a, or - and _, are classes of their own where letters are read
        alike[skeleton(name) if len(name) > 1 else name].append(name)
    groups = [sorted(names) for names in alike.values() if len(names) > 1]
    if not groups:
        return []
    shown = '; '.join(' and '.join(_shown(name, counts[name]) for name in g) for g in groups[:MOST])
    more = f'; and {len(groups) - MOST} more' if len(groups) > MOST else ''
    return [
        f'{sum(map(len, groups))} class names look like {len(groups)} that are written '
        f'differently: {shown}{more}. If each of them means the same class, write it in one way '
        'in all annotations and in `metainfo.classes`.'
    ]


def skeleton(name: str) -> str:
    """What is left of a name without case, blanks, hyphens, underscores and compatible letters."""
    folded = unicodedata.normalize('NFKC', unicodedata.normalize('NFKC', name).casefold())
    # Between digits they tell numbers apart, as in 1-1 and 11.
    return re.sub(r'(?<!\d)[\s_\-]+|[\s_\-]+(?!\d)', '', folded)


def _shown(name: str, count: int) -> str:
    """A name with its count, so that what cannot be seen is written out."""
    is_plain = name == unicodedata.normalize('NFC', name) and name == name.strip()
    written = repr(name) if is_plain else f'{name!r} (written as {ascii(name)})'
    return f'{written} ({count})' if count else f'{written} (no object)'
