"""Executing many runs on this machine: several at once, each with its share of it."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import IO, Any

from mmdet_ols.experiments.executors import Report, Task, WaitsForAnotherRun, silent
from mmdet_ols.experiments.states import end_of_log, forget_failure, locked_log, note_failure


class _RunsElsewhere(WaitsForAnotherRun):
    """Says that another process is at work in the folder of a run."""


@dataclass
class _Process:
    task: Task
    command: list[str]
    slot: int
    popen: Popen


class LocalExecutor:
    """Runs processes on this machine.

    A run that another process is executing is waited for. On KeyboardInterrupt all processes that
    were started here are ended, and the interrupt is passed on.

    Args:
        jobs: How many processes run at once.
        poll: Seconds between two checks of the processes.
    """

    def __init__(self, jobs: int = 1, poll: float = 1.0) -> None:
        self.jobs, self.poll = jobs, poll

    def run(self, tasks: Sequence[Task], report: Report = silent) -> dict[Path, str]:
        """Run the commands of every task, one after the other, as `Executor` describes it."""
        execution = _Execution(self.jobs, report)
        waiting = list(tasks)
        try:
            while waiting or execution.running:
                waiting = execution.start([*execution.ended(), *waiting])
                if waiting or execution.running:
                    time.sleep(self.poll)
        except KeyboardInterrupt:
            text = 'Interrupted: the runs started here are stopped. The same command goes on.'
            raise KeyboardInterrupt(text) from None
        finally:
            end_groups([process.popen for process in execution.running])
        return execution.failed


class _Execution:
    """What runs, what failed, and which slots of the machine are free."""

    def __init__(self, jobs: int, report: Report) -> None:
        self.jobs, self.report = jobs, report
        self.running: list[_Process] = []
        self.free = list(range(jobs))
        self.failed: dict[Path, str] = {}
        self._before: dict[Path, list[str]] = {}  # what each ran last

    def start(self, waiting: Sequence[Task]) -> list[Task]:
        """Start what can be started; return what has to wait."""
        left, later = list(waiting), []
        reasons: list[WaitsForAnotherRun] = []
        while left and self.free:
            task = left.pop(0)
            try:
                self._begin(task)
            except WaitsForAnotherRun as wait:
                later.append(task)
                reasons.append(wait)
        elsewhere = any(isinstance(reason, _RunsElsewhere) for reason in reasons)
        if self.running or left or elsewhere:
            return [*later, *left]
        for task, reason in zip(later, reasons):  # nothing is left that they could wait for
            self._fail(task, str(reason))
        return []

    def ended(self) -> list[Task]:
        """Take out what has ended, and return what may need another command."""
        ended = []
        for process in list(self.running):
            status = process.popen.poll()
            if status is None:
                self.report('running', process.task.folder, '')
                continue
            self.running.remove(process)
            self.free.insert(0, process.slot)
            if status:
                self._fail(process.task, why_failed(process.task, status))
            else:
                ended.append(process.task)
        return ended

    def _begin(self, task: Task) -> None:
        """Start a task's next command in a free slot.

        Raises:
            WaitsForAnotherRun: Its turn has to come later.
        """
        try:
            process = self._started(task)
        except (ValueError, OSError) as error:  # OSError: a full disk, for one
            return self._fail(task, str(error))
        if process is None:
            return self.report('finished', task.folder, '')
        self.running.append(process)
        self._before[task.folder] = process.command
        self.report('started', task.folder, shlex.join(process.command))

    def _fail(self, task: Task, why: str) -> None:
        """Note down why a run failed, and go on without it."""
        self.failed[task.folder] = why
        note_failure(task.folder, why)
        self.report('failed', task.folder, why)

    def _started(self, task: Task) -> _Process | None:
        """Start a task's next command; None if there is none.

        Raises:
            WaitsForAnotherRun: Its turn has to come later.
            ValueError: It cannot go on.
            OSError: Its folder cannot be written into.
        """
        if task.next_command() is None:
            return None
        try:
            log = locked_log(task.folder)
        except BlockingIOError as error:
            self.report('running', task.folder, '')
            raise _RunsElsewhere('another process is running it') from error
        with log:
            command = task.next_command()  # again: the lock may have been another one's until now
            if command is None:
                return None
            if command == self._before.get(task.folder):
                raise ValueError(ended_early(command))
            forget_failure(task.folder)
            popen = start_in_group(command, log, share_of_machine(self.free[0], self.jobs))
        return _Process(task, command, self.free.pop(0), popen)


@contextmanager
def terminating_is_interrupting() -> Iterator[None]:
    """Treat `kill` and a closed terminal like Ctrl-C, so that the children are ended too."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    signals = [s for s in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(s) != signal.SIG_IGN]
    with _handling(signals, interrupt):
        yield


@contextmanager
def _handling(signals: Iterable[signal.Signals], handler: Any) -> Iterator[None]:
    """Handle signals in this way inside of the context, and as before after it."""
    before = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, known in before.items():
            signal.signal(number, known)


def start_in_group(command: Sequence[str], log: IO[str], variables: Mapping[str, str]) -> Popen:
    """Write a command into a log, and start it as a process group of its own that writes there too.

    Ctrl-C thus reaches only this process, which then ends the whole group, including the workers of
    the data loaders.

    Args:
        command: Its words.
        log: What it prints goes there.
        variables: Environment variables that it gets in addition to those of this process.
    """
    log.write(f'\n$ {shlex.join(command)}\n')
    log.flush()
    return Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**os.environ, **variables},
        start_new_session=True,
    )


def ended_early(command: Sequence[str]) -> str:
    """Say that a command did not do its work, though it ended as if it had."""
    return f'it ended before its time and without an error: {shlex.join(command)}'


def why_failed(task: Task, status: int) -> str:
    """Say how a task's command failed, with the last lines that it printed."""
    killed = status in (-signal.SIGKILL, 128 + signal.SIGKILL)
    remark = ': killed, as the system does when memory runs out' if killed else ''
    return f'exit status {status}{remark}\n{end_of_log(task.folder)}'


def share_of_machine(slot: int, jobs: int) -> dict[str, str]:
    """Choose environment variables that give one of `jobs` processes its cores and its GPU."""
    import torch

    share = {}
    if 'OMP_NUM_THREADS' not in os.environ:
        share['OMP_NUM_THREADS'] = str(max(1, len(os.sched_getaffinity(0)) // jobs))
    named = os.environ.get('CUDA_VISIBLE_DEVICES', '')
    count = torch.cuda.device_count()
    devices = named.split(',')[:count] if named else [str(index) for index in range(count)]
    if devices and named.startswith('MIG-'):  # of which a process sees one, however many are named
        devices = named.split(',')
    if devices:
        share['CUDA_VISIBLE_DEVICES'] = devices[slot % len(devices)]
    return share


def end_groups(processes: Sequence[Popen], grace: float = 10.0) -> None:
    """End process groups: ask first, kill later, and ignore impatient signals meanwhile."""
    with _handling((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), signal.SIG_IGN):
        for number in (signal.SIGTERM, signal.SIGKILL):
            for process in processes:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
            deadline = time.monotonic() + grace
            while time.monotonic() < deadline and any(p.poll() is None for p in processes):
                time.sleep(0.05)
