"""Saying what lies where something was expected."""

from __future__ import annotations

from pathlib import Path


def listing(path: Path, at_most: int = 8) -> str:
    """List what lies at the nearest existing folder above a path that does not exist."""
    folder = path.parent
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    names = sorted(f'{item.name}/' if item.is_dir() else item.name for item in folder.iterdir())
    more = f' and {len(names) - at_most} more' if len(names) > at_most else ''
    return f'{folder} holds {", ".join(names[:at_most]) or "nothing"}{more}'
