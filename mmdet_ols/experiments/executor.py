"""Many trainings as subprocesses: several at once, each with its share of the machine."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

#: What a run prints goes into this file of its folder.
LOG = 'compare.log'


@dataclass
class _Process:
    folder: Path
    command: list[str]
    slot: int
    popen: subprocess.Popen


def run_all(
    folders: Sequence[Path],
    next_command: Callable[[Path], list[str] | None],
    jobs: int = 1,
    report: Callable[[str, Path, str], None] = lambda event, folder, text: None,
    poll: float = 1.0,
) -> dict[Path, str]:
    """Run the commands of every folder, one after the other, and `jobs` folders at once.

    On KeyboardInterrupt all processes are ended, and the interrupt is passed on.

    Args:
        folders: One a run, in the order in which to start them; they are made.
        next_command: Gives the command that a run needs next, or None once it is finished; a
            ValueError says why there is none. The same command twice in a row means that the first
            has not done its work.
        jobs: How many processes run at once.
        report: Called with 'started', 'finished', 'failed' or 'running' (every `poll` seconds),
            the folder, and the command or what went wrong.
        poll: Seconds between two looks.

    Returns:
        What went wrong, by folder. One failed run does not stop the others.
    """
    waiting, running = list(folders), list[_Process]()
    failed: dict[Path, str] = {}
    free = list(range(jobs))

    def begin(folder: Path, slot: int, before: list[str] | None = None) -> None:
        try:
            command = next_command(folder)
        except ValueError as error:
            fail(folder, str(error))
            free.append(slot)
            return
        if command is None:
            report('finished', folder, '')
        elif command == before:
            fail(folder, f'it ended before its time and without an error: {" ".join(command)}')
        else:
            try:
                popen = _start(folder, command, slot, jobs)
            except BlockingIOError:
                fail(folder, 'another process is running it')
            else:
                running.append(_Process(folder, command, slot, popen))
                report('started', folder, ' '.join(command))
                return
        free.append(slot)

    def fail(folder: Path, why: str) -> None:
        failed[folder] = why
        report('failed', folder, why)

    try:
        while waiting or running:
            while waiting and free:
                begin(waiting.pop(0), free.pop(0))
            for process in list(running):
                status = process.popen.poll()
                if status is None:
                    report('running', process.folder, '')
                    continue
                running.remove(process)
                if status:
                    fail(process.folder, f'exit status {status}\n{end_of_log(process.folder)}')
                    free.append(process.slot)
                else:
                    begin(process.folder, process.slot, process.command)
            if running:
                time.sleep(poll)
    finally:
        _end([process.popen for process in running])
    return failed


def end_of_log(folder: Path, lines: int = 15) -> str:
    """The last lines that a run printed."""
    path = folder / LOG
    text = path.read_text(errors='replace') if path.is_file() else ''
    return '\n'.join(text.splitlines()[-lines:])


@contextmanager
def terminating_is_interrupting() -> Iterator[None]:
    """Take an end from outside (`kill`, a closed terminal) for Ctrl-C, to end the children too."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    signals = [s for s in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(s) != signal.SIG_IGN]
    before = {number: signal.signal(number, interrupt) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _start(folder: Path, command: list[str], slot: int, jobs: int) -> subprocess.Popen:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOG).open('a') as log:
        # The children hold the lock as long as they live, even where this process was killed:
        # two trainings in one folder would overwrite each other's checkpoints.
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        log.write(f'\n$ {" ".join(command)}\n')
        log.flush()
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **share_of_machine(slot, jobs)},
            # A group of its own: Ctrl-C reaches this process alone, which ends the whole group,
            # workers of the data loaders included.
            start_new_session=True,
        )


def share_of_machine(slot: int, jobs: int) -> dict[str, str]:
    """Environment variables that give one of `jobs` processes its cores and its GPU."""
    import torch

    share = {}
    if 'OMP_NUM_THREADS' not in os.environ:
        share['OMP_NUM_THREADS'] = str(max(1, len(os.sched_getaffinity(0)) // jobs))
    named = os.environ.get('CUDA_VISIBLE_DEVICES')
    count = torch.cuda.device_count()
    devices = named.split(',')[:count] if named else [str(index) for index in range(count)]
    if devices:
        share['CUDA_VISIBLE_DEVICES'] = devices[slot % len(devices)]
    return share


def _end(processes: list[subprocess.Popen], grace: float = 10.0) -> None:
    """End process groups, first by asking; impatient signals meanwhile leave nothing behind."""
    ignored = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in ignored}
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            for process in processes:
                try:
                    os.killpg(process.pid, number)
                except ProcessLookupError:
                    continue
            deadline = time.monotonic() + grace
            while time.monotonic() < deadline and any(p.poll() is None for p in processes):
                time.sleep(0.05)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
