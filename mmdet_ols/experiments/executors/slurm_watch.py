"""Watching the jobs of runs: what the queue says of them, and what they leave in their folders."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from mmdet_ols.experiments.executors import ExecutorError, Report, Task, WaitsForAnotherRun
from mmdet_ols.experiments.executors.slurm_queue import HELD, Job, queued_jobs
from mmdet_ols.experiments.states import end_of_log, failure_of, note_failure

#: Why jobs wait on any cluster, or because this process or a user said so.
USUAL = (
    'None', 'Priority', 'Resources', 'JobArrayTaskLimit', 'Dependency', 'BeginTime', 'Prolog', HELD
)  # fmt: skip
#: The states of jobs that wait.
WAITING = ('PENDING', 'REQUEUE_HOLD', 'RESV_DEL_HOLD', 'SPECIAL_EXIT')
#: Seconds for which SLURM may be silent before watching ends.
SILENCE = 600.0


class Watch:
    """What is known of each run while its job waits, runs and ends.

    Args:
        tasks: The runs.
        jobs: Their jobs, by folder; those of runs that get one later are added later.
        report: Told of everything that happens to a run.
        say: Called with what else a user should know.
        logs: Folder of what the jobs print.
        patience: Seconds to wait for the files of a job that has ended.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        jobs: dict[Path, str],
        report: Report,
        say: Callable[[str], None],
        logs: Path,
        patience: float,
    ) -> None:
        self.open, self.jobs, self.report = list(tasks), jobs, report
        self.say, self.logs, self.patience = say, logs, patience
        self.failed: dict[Path, str] = {}
        self._running: set[Path] = set()
        self._gone: dict[Path, float] = {}  # since when the job of a folder is over
        self._queue: dict[str, Job] = {}
        self._said: set[str] = set()  # why jobs wait

    def can_go_on(self, task: Task) -> bool:
        """Whether a run without a job needs one; reports those that are finished or cannot go on.

        A run may learn from one that has a job, or gets one.
        """
        try:
            if task.next_command() is not None:
                return True
            self._close(task, 'finished')
        except ValueError as error:
            self._fail(task, str(error))
        except WaitsForAnotherRun as wait:
            teacher = teacher_of(task)
            if teacher is not None and key_of(teacher) in map(key_of, self.open):
                return True
            self._fail(task, str(wait))
        return False

    def until_the_end(self, poll: float) -> None:
        """Report what happens until every run is finished or has failed.

        Raises:
            ExecutorError: SLURM has not answered for a long time.
        """
        answered = time.monotonic()
        while self.open:
            try:
                self._queue = queued_jobs()
                answered = time.monotonic()
            except ExecutorError as error:  # its controller starts again, for one
                if time.monotonic() - answered > SILENCE:
                    raise ExecutorError(
                        f'{error}. The jobs go on; the same command watches them again.'
                    ) from error
            else:
                for task in list(self.open):
                    self._look_at(task)
            if self.open:
                time.sleep(poll)

    def alive(self) -> list[str]:
        """The jobs of the runs that are not over."""
        return [self.jobs[key_of(task)] for task in self.open if key_of(task) in self.jobs]

    def _look_at(self, task: Task) -> None:
        folder, job = task.folder, self._queue.get(self.jobs[key_of(task)])
        if job is not None and job.alive:
            self._gone.pop(folder, None)
            if not job.running:  # or not any more, since it was queued again
                self._running.discard(folder)
                self._say_why_waiting(job)
            elif folder in self._running:
                self.report('running', folder, '')
            else:
                self._running.add(folder)
                self.report('started', folder, f'SLURM job {job.id} on {job.nodes}')
            return
        why = self._failure(task)
        if why is None:
            self._close(task, 'finished')
        elif failure_of(folder):
            self._fail(task, failure_of(folder))
        else:  # what it wrote may come later than its end
            since = self._gone.setdefault(folder, time.monotonic())
            if time.monotonic() - since >= self.patience:
                self._fail(task, '\n'.join(filter(None, [why, self._how_it_ended(task, job)])))

    def _say_why_waiting(self, job: Job) -> None:
        """Say each reason once that a user may have to do something about."""
        kind = job.reason.partition(':')[0]  # without the nodes, which change all the time
        if job.state not in WAITING or kind in USUAL or kind in self._said:
            return
        self._said.add(kind)
        remedy = f' (let it run: scontrol release {job.id})' if 'held' in job.reason.lower() else ''
        self.say(f'SLURM job {job.id} waits: {job.reason}{remedy}')

    def _failure(self, task: Task) -> str | None:
        """Why a run without a job is not finished, as far as its folder says; None if it is."""
        try:
            return None if task.next_command() is None else ''
        except (ValueError, OSError, WaitsForAnotherRun) as error:  # OSError: a stale NFS handle
            return str(error)

    def _how_it_ended(self, task: Task, job: Job | None) -> str:
        name = self.jobs[key_of(task)]
        state = 'left the queue' if job is None else f'ended as {job.state}, reason {job.reason}'
        logs = [self.logs / f'{name}_0_log.{end}' for end in ('err', 'out')]
        printed = [path.read_text(errors='replace') for path in logs if path.is_file()]
        lines = '\n'.join(printed).splitlines()[-15:]
        text = f'its SLURM job {name} {state}, and the run is not finished'
        return '\n'.join(filter(None, [text, end_of_log(task.folder), *lines]))

    def _fail(self, task: Task, why: str) -> None:
        self.failed[task.folder] = why
        note_failure(task.folder, why)
        self._close(task, 'failed', why)

    def _close(self, task: Task, event: str, text: str = '') -> None:
        self.open.remove(task)
        self.report(event, task.folder, text)


def teacher_of(task: Task) -> Task | None:
    """The run that a task learns from, if it is one that can learn."""
    return getattr(task, 'teacher', None)


def key_of(task: Task) -> Path:
    """A folder as it is known wherever the command was started."""
    return Path(os.path.abspath(task.folder))
