"""The progress bar of a survey."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import track

#: Collections of at least this many items get a bar.
LONG = 2000

Item = TypeVar('Item')


def progress(items: Collection[Item], text: str) -> Iterable[Item]:
    """Iterate over items that may be many, with a bar that disappears at the end.

    Args:
        items: The items.
        text: What is being done, in front of the bar.
    """
    is_shown = len(items) >= LONG and Console().is_terminal
    return track(items, text, transient=True, disable=not is_shown)
