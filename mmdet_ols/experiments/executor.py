"""Executing many runs on this machine: several at once, each with its share of it.

It knows folders and commands only; what a run is stands in its specification.
"""

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


class WaitsForAnotherRun(Exception):  # noqa: N818  (no error: its turn comes later)
    """Says that a run cannot start before another one has got further, and which that is."""


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
    """Run the commands of every folder, one after the other, for `jobs` folders at once.

    On KeyboardInterrupt all processes are ended, and the interrupt is passed on.

    Args:
        folders: One for each run, in the order in which to start them; absent ones are made.
        next_command: Gives the command that a run needs next, or None once it is finished; a
            ValueError says why there is none, and `WaitsForAnotherRun` that the folder's turn has
            to come later. The same command twice in a row means that it did not do its work the
            first time.
        jobs: How many processes run at once.
        report: Called with 'started', 'finished', 'failed' or 'running' (every `poll` seconds),
            the folder, and the command or what went wrong.
        poll: Seconds between two checks of the processes.

    Returns:
        What went wrong, by folder. One failed run does not stop the others.
    """
    execution = _Execution(next_command, jobs, report)
    waiting = list(folders)
    try:
        while waiting or execution.running:
            blocked: dict[Path, str] = {}
            while waiting and execution.free:
                folder = waiting.pop(0)
                try:
                    execution.begin(folder, execution.free.pop(0))
                except WaitsForAnotherRun as reason:
                    blocked[folder] = str(reason)
            if execution.running:
                waiting[:0] = blocked
            else:  # nothing is left that they could wait for
                for folder, why in blocked.items():
                    execution.fail(folder, execution.free.pop(0), why)
            execution.check()
            if execution.running:
                time.sleep(poll)
    finally:
        _end([process.popen for process in execution.running])
    return execution.failed


class _Execution:
    """The processes of one `run_all`, and what went wrong with those that are over."""

    def __init__(
        self,
        next_command: Callable[[Path], list[str] | None],
        jobs: int,
        report: Callable[[str, Path, str], None],
    ) -> None:
        self.next_command, self.jobs, self.report = next_command, jobs, report
        self.running: list[_Process] = []
        self.free = list(range(jobs))
        self.failed: dict[Path, str] = {}

    def begin(self, folder: Path, slot: int, before: list[str] | None = None) -> None:
        """Start a folder's next command in a slot; free the slot if there is none."""
        try:
            command = self.next_command(folder)
        except WaitsForAnotherRun:
            self.free.insert(0, slot)
            raise
        except ValueError as error:
            return self.fail(folder, slot, str(error))
        if command is None:
            self.free.append(slot)
            return self.report('finished', folder, '')
        if command == before:
            why = f'it ended before its time and without an error: {" ".join(command)}'
            return self.fail(folder, slot, why)
        try:
            popen = _start(folder, command, slot, self.jobs)
        except BlockingIOError:
            return self.fail(folder, slot, 'another process is running it')
        self.running.append(_Process(folder, command, slot, popen))
        self.report('started', folder, ' '.join(command))

    def check(self) -> None:
        """Go on with what has ended."""
        for process in list(self.running):
            status = process.popen.poll()
            if status is None:
                self.report('running', process.folder, '')
                continue
            self.running.remove(process)
            if status:
                why = f'exit status {status}\n{end_of_log(process.folder)}'
                self.fail(process.folder, process.slot, why)
            else:
                self.begin(process.folder, process.slot, process.command)

    def fail(self, folder: Path, slot: int, why: str) -> None:
        """Note down why a run failed, and go on without it."""
        self.failed[folder] = why
        self.report('failed', folder, why)
        self.free.append(slot)


def end_of_log(folder: Path, lines: int = 15) -> str:
    """The last lines that a run printed."""
    path = folder / LOG
    text = path.read_text(errors='replace') if path.is_file() else ''
    return '\n'.join(text.splitlines()[-lines:])


@contextmanager
def terminating_is_interrupting() -> Iterator[None]:
    """Treat `kill` and a closed terminal like Ctrl-C, so that the children are ended too."""

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
        # The children hold the lock as long as they live, even if this process is killed: two
        # trainings in one folder would overwrite each other's checkpoints.
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        log.write(f'\n$ {" ".join(command)}\n')
        log.flush()
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **share_of_machine(slot, jobs)},
            # A group of its own: Ctrl-C reaches only this process, which then ends the whole
            # group, including the workers of the data loaders.
            start_new_session=True,
        )


def share_of_machine(slot: int, jobs: int) -> dict[str, str]:
    """Choose environment variables that give one of `jobs` processes its cores and its GPU."""
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
    """End process groups: ask first, kill later, and ignore impatient signals meanwhile."""
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
