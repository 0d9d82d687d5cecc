"""What is shown while a survey takes its time."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TypeVar

from rich.console import Console
from rich.progress import track

#: Collections of at least this many items get a bar.
LONG = 2000
#: Files of at least this many bytes are read for more than a moment.
LARGE = 50_000_000

Item = TypeVar('Item')


def progress(items: Collection[Item], text: str) -> Iterable[Item]:
    """Iterate over items that may be many, with a bar that disappears at the end.

    Args:
        items: The items.
        text: What is being done, in front of the bar.
    """
    is_shown = len(items) >= LONG and Console().is_terminal
    return track(items, text, transient=True, disable=not is_shown)


@contextmanager
def waiting(path: str) -> Iterator[None]:
    """Say inside the block that a file is being read, if it is large.

    Args:
        path: The file.
    """
    is_large = os.path.isfile(path) and os.path.getsize(path) >= LARGE
    console = Console(file=sys.stdout)  # which `load` redirects meanwhile
    with console.status(f'Reading {path}') if is_large and console.is_terminal else nullcontext():
        yield
