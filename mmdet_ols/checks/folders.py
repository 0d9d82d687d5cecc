"""Saying what lies where something was expected."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def listing(path: Path, at_most: int = 8) -> str:
    """List what lies at the nearest existing folder above a path that does not exist."""
    folder = path.parent
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    names = sorted(f'{item.name}/' if item.is_dir() else item.name for item in folder.iterdir())
    more = f' and {len(names) - at_most} more' if len(names) > at_most else ''
    return f'{folder} holds {", ".join(names[:at_most]) or "nothing"}{more}'


def dataset_paths(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """What a data set's config calls `data_root`, `ann_file` and its prefixes."""
    prefix = dataset.get('data_prefix') or {}
    prefixes = {'data_prefix': prefix} if isinstance(prefix, str) else dict(prefix)
    return {
        'data_root': dataset.get('data_root') or '',
        'ann_file': dataset.get('ann_file') or '',
        **prefixes,
    }


def is_local(dataset: Mapping[str, Any]) -> bool:
    """Whether plain file paths are all that a data set needs; MMEngine's backends know others."""
    backend = (dataset.get('backend_args') or {}).get('backend', 'local')
    return backend in ('local', 'disk') and all(
        isinstance(path, str) and '://' not in path for path in dataset_paths(dataset).values()
    )
