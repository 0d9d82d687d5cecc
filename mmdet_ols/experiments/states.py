"""What the folder of a run says about it: who is at work there, and why it failed.

The folders are the truth, whichever process started the run: every process reads them.
"""

from __future__ import annotations

import fcntl
from contextlib import suppress
from pathlib import Path
from typing import IO, Literal, NamedTuple

#: What a run prints goes into this file of its folder; who is at work there holds its lock.
LOG = 'compare.log'
#: Why the last attempt at a run failed.
FAILURE = 'failed.txt'


class State(NamedTuple):
    """Where a run stands, and for one that failed why."""

    name: Literal['finished', 'running', 'failed', 'waiting']
    why: str = ''


def state_of(folder: Path, finished: bool) -> State:
    """Say where a run stands, without changing anything.

    Args:
        folder: Its work directory, which need not exist.
        finished: Whether its result is there.
    """
    if finished:
        return State('finished')
    if is_locked(folder / LOG):  # some process is executing it
        return State('running')
    why = failure_of(folder)
    return State('failed', why) if why else State('waiting')


def locked_log(folder: Path) -> IO[str]:
    """Open the log of a run to be written into, and lock it; make the folder if it is absent.

    The children of a process that is given the file hold the lock as long as they live, even if
    this process is killed: two trainings in one folder would overwrite each other's checkpoints.

    Raises:
        BlockingIOError: Another process is at work there.
        OSError: The folder cannot be written into.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = (folder / LOG).open('a', encoding='utf-8')
    try:
        lock(log)
    except OSError:
        log.close()
        raise
    return log


def lock(file: IO[str]) -> None:
    """Lock a file until it is closed.

    Raises:
        BlockingIOError: Another process has locked it.
        OSError: Its file system has no locks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        raise OSError(
            f'{file.name} cannot be locked ({error.strerror}). The lock keeps two processes from '
            'training in one folder: choose a work directory on a disk with file locks, such as '
            'NFS 4, or Lustre mounted with flock.'
        ) from error


def is_locked(path: Path) -> bool:
    """Whether some process holds the lock of a file, which need not exist."""
    try:
        with path.open(encoding='utf-8') as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no such file, or a file system without locks
        return False
    return False


def note_failure(folder: Path, why: str) -> None:
    """Note down why a run failed; on a full disk its log has to do."""
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FAILURE).write_text(why, encoding='utf-8')


def forget_failure(folder: Path) -> None:
    """Forget why a run failed, since it is tried again."""
    (folder / FAILURE).unlink(missing_ok=True)


def failure_of(folder: Path) -> str:
    """Read why the last attempt at a run failed; empty where it did not."""
    try:
        return (folder / FAILURE).read_text(encoding='utf-8', errors='replace')
    except OSError:
        return ''


def end_of_log(folder: Path) -> str:
    """The last lines that a run printed."""
    path = folder / LOG
    text = path.read_text(encoding='utf-8', errors='replace') if path.is_file() else ''
    return '\n'.join(text.splitlines()[-15:])
