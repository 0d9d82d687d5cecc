"""What a job of a cluster does on its node: it executes one run until that is finished."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from subprocess import Popen
from typing import IO, Any

from mmdet_ols.experiments.executors import Task, WaitsForAnotherRun
from mmdet_ols.experiments.executors.local import (
    end_groups,
    ended_early,
    share_of_machine,
    start_in_group,
    why_failed,
)
from mmdet_ols.experiments.executors.slurm_watch import key_of
from mmdet_ols.experiments.states import forget_failure, locked_log, note_failure

#: How often in a row a run may be queued again without a new checkpoint.
MAX_FRUITLESS = 3
#: Seconds between two checks of the process of a command.
POLL = 0.2
#: Seconds between two checks of what another process does.
LOOK = 2.0
#: Seconds until files that another node has written are seen here.
LAG = 120.0
#: Seconds in which the scheduler signals all processes of a job, after the first of them.
SIGNALLING = 5.0
#: Seconds for which a job that was told to stop waits to be ended, which is the scheduler's to do.
STOPPING = 600.0


class RunFailed(Exception):  # noqa: N818
    """Says why a run failed, so that its job counts as failed as well."""


@dataclass
class RunInJob:
    """A run as a job, which submitit pickles, calls on a node and queues again where necessary.

    Args:
        task: The run.
        note_start: Called on the node at each start of one of its commands.
        cpu_only: Whether it must not use a GPU, even if the node shows it one.
        fruitless: How often in a row the job was queued again without a new checkpoint.
    """

    task: Task
    note_start: Callable[[Any], None] | None = None
    cpu_only: bool = False
    fruitless: int = 0
    #: By what the run is known: a relative folder means another place for a later command.
    key: Path = field(init=False, repr=False)
    _popen: Popen | None = field(default=None, init=False, repr=False)
    _before: object = field(default=None, init=False, repr=False)
    _told_to_stop: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        self.key = key_of(self.task)

    def __call__(self) -> None:
        """Execute the commands of the run, one after the other, until it is finished.

        Raises:
            RunFailed: It is not finished and cannot go on; its folder says why.
        """
        os.environ.update(_share_of_node(self.cpu_only))
        # submitit only logs it. Where nothing can be saved in between, nor can we do more.
        signal.signal(signal.SIGTERM, self._note_stop)
        folder = self.task.folder
        try:
            self._before = self._progress()
            with _own_log(self.task) as log:
                forget_failure(folder)
                self._execute(log)
        except (RunFailed, ValueError, OSError, WaitsForAnotherRun) as error:  # OSError: full disk
            note_failure(folder, str(error))
            raise RunFailed(f'{folder}: {error}') from error

    def checkpoint(self) -> Any:
        """Stop, since the time is up or the node is needed; submitit queues what is returned.

        Returns:
            None where that would achieve nothing.
        """
        from submitit.helpers import DelayedSubmission

        if self._popen is not None:
            end_groups([self._popen])
        fruitless = 0 if self._progress() != self._before else self.fruitless + 1
        if fruitless >= MAX_FRUITLESS:
            note_failure(
                self.task.folder,
                f'it was stopped {fruitless} times in a row before it had saved a new checkpoint: '
                'ask for a longer time limit, or let the config save more often '
                '(default_hooks.checkpoint.interval).',
            )
            return None
        return DelayedSubmission(replace(self, fruitless=fruitless))

    def _execute(self, log: IO[str]) -> None:
        before = None
        while (command := _next_command(self.task)) is not None:
            if command == before:
                raise RunFailed(ended_early(command))
            if self.note_start is not None:
                _note_apart(self.note_start, self.task)
            self._popen, before = start_in_group(command, log, {}), command
            # Not `wait`, during which `checkpoint` could not ask whether the process has ended.
            while (status := self._popen.poll()) is None:
                time.sleep(POLL)
            if status:
                if status < 0 or status > 128:  # ended by a signal
                    self._await_end()
                raise RunFailed(why_failed(self.task, status))

    def _await_end(self) -> None:
        """Wait for the end of this process, if its child was ended as the first of the job's."""
        deadline = time.monotonic() + SIGNALLING
        while time.monotonic() < deadline:
            time.sleep(0.1)
            if self._told_to_stop:
                deadline, self._told_to_stop = time.monotonic() + STOPPING, False

    def _note_stop(self, number: int, frame: object) -> None:
        self._told_to_stop = True

    def _progress(self) -> tuple[object, str]:
        """What changes when the run saves a checkpoint."""
        try:
            command = self.task.next_command()
        except (ValueError, WaitsForAnotherRun):
            command = None
        pointer = self.task.folder / 'last_checkpoint'
        return command, pointer.read_text() if pointer.is_file() else ''


def _own_log(task: Task) -> IO[str]:
    """Open and lock the log of a run as soon as no other process is at work there."""
    while True:
        try:
            return locked_log(task.folder)
        except BlockingIOError:
            time.sleep(LOOK)


def _next_command(task: Task) -> list[str] | None:
    """What a run needs next, once what it learns from can be seen."""
    deadline = time.monotonic() + LAG
    while True:
        try:
            return task.next_command()
        except WaitsForAnotherRun:
            if time.monotonic() > deadline:
                raise
            time.sleep(LOOK)


def _note_apart(note_start: Callable[[Any], None], task: Task) -> None:
    """Let a process of its own note a start, which asks for the GPU that the run is to have."""

    def note() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are for the job
        note_start(task)

    process = multiprocessing.get_context('fork').Process(target=note)
    process.start()
    process.join()


def _share_of_node(cpu_only: bool) -> dict[str, str]:
    """Choose environment variables that give a run the cores and the GPU of its job."""
    share = share_of_machine(0, 1)
    # Without `cpus`, the second says what the cluster gave; not all bind processes to their cores.
    cores = os.environ.get('SLURM_CPUS_PER_TASK') or os.environ.get('SLURM_CPUS_ON_NODE')
    if cores and 'OMP_NUM_THREADS' in share:
        share['OMP_NUM_THREADS'] = cores
    if cpu_only:
        share['CUDA_VISIBLE_DEVICES'] = ''
    return share
