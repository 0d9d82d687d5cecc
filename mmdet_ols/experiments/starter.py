"""One process starts the runs of a folder; others that are asked to only watch."""

from __future__ import annotations

import json
import os
import shlex
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from mmdet_ols.experiments.executors import Report, Task
from mmdet_ols.experiments.states import is_locked, lock, state_of

#: Says who starts the runs of a folder; that process holds its lock.
STARTER = 'starter.json'


class Starter(NamedTuple):
    """The process that starts the runs of a folder."""

    command: str
    host: str
    pid: int
    since: str

    def __str__(self) -> str:
        return f'process {self.pid} on {self.host}, since {self.since}: {self.command}'


@contextmanager
def starting(work_dir: str | Path, command: Sequence[str]) -> Iterator[Starter | None]:
    """Be the only process that starts the runs of a folder, unless another one is.

    The place is free again when the process ends, however it ends.

    Args:
        work_dir: The folder; made if absent.
        command: The words of this process's command line.

    Yields:
        The other one; None where this process has the place.
    """
    path = Path(work_dir, STARTER)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('a+', encoding='utf-8') as file:
        try:
            lock(file)
        except BlockingIOError:
            yield _read(path)
            return
        now = datetime.now().isoformat(' ', 'seconds')
        own = Starter(shlex.join(command), socket.gethostname(), os.getpid(), now)
        file.truncate(0)
        file.write(json.dumps(own._asdict()))
        file.flush()
        yield None


def starter_of(work_dir: str | Path) -> Starter | None:
    """The process that starts the runs of a folder now; None where there is none."""
    path = Path(work_dir, STARTER)
    return _read(path) if is_locked(path) else None


def watch(
    tasks: Sequence[Task],
    is_finished: Callable[[Path], bool],
    report: Report,
    work_dir: str | Path,
    poll: float = 2.0,
) -> dict[Path, str]:
    """Report what another process does with runs, until it ends.

    Args:
        tasks: The runs.
        is_finished: Whether the result of a folder is there.
        report: As for an executor.
        work_dir: The folder whose runs the other process starts.
        poll: Seconds between two checks.

    Returns:
        What went wrong, by folder.
    """
    known = {task.folder: 'waiting' for task in tasks}
    failed: dict[Path, str] = {}
    while True:
        last = starter_of(work_dir) is None  # what it did just before is still to be reported
        for folder, before in known.items():
            if before == 'finished':
                continue
            state = state_of(folder, is_finished(folder))
            if state.name == 'running':
                report('running' if before == 'running' else 'started', folder, '')
                failed.pop(folder, None)  # it is tried again
            elif state.name in ('finished', 'failed') and state.name != before:
                report(state.name, folder, state.why)
                if state.name == 'failed':
                    failed[folder] = state.why
            known[folder] = state.name
        if last:
            return failed
        time.sleep(poll)


def _read(path: Path) -> Starter:
    try:
        return Starter(**json.loads(path.read_text(encoding='utf-8')))
    except (OSError, ValueError, TypeError):  # it is about to write it
        return Starter('', 'this machine or another one', 0, '')
