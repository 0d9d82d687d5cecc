"""Files that are written whole, or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from uuid import uuid4


@contextmanager
def whole_file(path: Path, mode: str = 'w') -> Iterator[IO[Any]]:
    """Open a file that takes the place of `path` when the block ends.

    A reader finds the old file until the new one is whole, also after the process was killed. An
    error in the block leaves the old file. Several processes may write at once, on several machines
    as well: the last one to end wins.

    Args:
        path: The file, in a folder that is there; of a link, what it leads to.
        mode: 'w' for text, which is written as UTF-8 with its line ends as they are, or 'wb'.

    Yields:
        The file to write to.
    """
    encoding, newline = (None, None) if 'b' in mode else ('utf-8', '')
    path = path.resolve()
    unfinished = path.with_name(f'.{path.name}.{uuid4().hex}')
    try:
        with unfinished.open(mode, encoding=encoding, newline=newline) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # else a machine that loses power keeps an empty file
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
