"""Executing many runs on a SLURM cluster: submitting jobs, and watching the queue and the folders.

SLURM decides what runs when and where, and queues jobs again that were preempted, ran out of time
or lost their node. Nothing here has to live as long as they do: what was submitted stands in a
folder next to the runs, and the next start goes on watching it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmdet_ols.experiments.executors import (
    ExecutorError,
    Report,
    Task,
    WaitsForAnotherRun,
    silent,
)
from mmdet_ols.experiments.executors.slurm_job import RunInJob
from mmdet_ols.experiments.executors.slurm_options import SlurmOptions
from mmdet_ols.experiments.executors.slurm_queue import (
    HELD,
    Job,
    check_accepted,
    check_available,
    queued_jobs,
    release,
    set_dependency,
)
from mmdet_ols.experiments.states import end_of_log, failure_of, forget_failure, note_failure

#: Elements of one array of jobs; SLURM's own limit is 1001 unless a cluster sets another.
ARRAY = 1000
#: What submitit adds to the id of a job for the file of what it executes.
SUBMITTED = '_submitted.pkl'
#: submitit gives up a job after so many ends of its time; `RunInJob` knows better when to.
TIMEOUTS = 1_000_000
#: Seconds for which SLURM may be silent before watching ends.
SILENCE = 600.0


class SlurmExecutor:
    """Runs each task as a job of a SLURM cluster.

    A run that has a job already, from an earlier start, is watched rather than submitted again. On
    KeyboardInterrupt the jobs go on; the interrupt that is passed on says how to cancel them.

    Args:
        folder: Where submitit keeps what it submits, and what the jobs print; like the folders of
            the runs, it must be the same on all nodes.
        options: What each run is given.
        note_start: Called on the node, with the task, at each start of one of its commands.
        say: Called with what a user should know: which jobs were submitted.
        poll: Seconds between two looks at the queue.
        patience: Seconds to wait for the files of a job that has ended.
    """

    def __init__(
        self,
        folder: str | Path,
        options: SlurmOptions,
        note_start: Callable[[Any], None] | None = None,
        say: Callable[[str], None] = print,
        poll: float = 15.0,
        patience: float = 60.0,
    ) -> None:
        self.folder, self.options, self.note_start = Path(folder).absolute(), options, note_start
        self.say, self.poll, self.patience = say, poll, patience

    def check(self) -> None:
        """Find what would keep jobs from being submitted.

        Raises:
            ExecutorError: submitit is missing, this machine cannot submit jobs, SLURM does not
                accept the options, or the folder cannot be written into.
        """
        try:
            import submitit  # noqa: F401
        except ImportError as error:
            raise ExecutorError(
                '--executor slurm needs submitit: pip install "mmdet_ols[cluster]".'
            ) from error
        check_available()
        check_accepted(self.options.flags())
        trial = self.folder / '.writable'
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            trial.touch()
            trial.unlink()
        except OSError as error:
            raise ExecutorError(f'Nothing can be submitted from {self.folder}: {error}') from error

    def run(self, tasks: Sequence[Task], report: Report = silent) -> dict[Path, str]:
        """Run the commands of every task, one after the other, as `Executor` describes it.

        Raises:
            ExecutorError: As for `check`, or SLURM does not answer.
        """
        self.check()
        queue = queued_jobs()
        jobs = {key: job for key, job in self._submitted().items() if _is_alive(queue.get(job))}
        watch = _Watch(tasks, jobs, report, self.folder, self.patience)
        try:
            mine = [jobs[_key(task)] for task in tasks if _key(task) in jobs]
            if mine:
                self.say(f'{len(mine)} runs have jobs already: {_arrays(mine)}')
            new = [task for task in tasks if _key(task) not in jobs and watch.can_go_on(task)]
            jobs.update(self._submit(new))
            self._let_go(tasks, jobs, {*filter(_is_held, queue.values())}, new)
            watch.until_the_end(self.poll)
        except KeyboardInterrupt as interrupt:
            raise KeyboardInterrupt(_farewell(watch.alive())) from interrupt
        return watch.failed

    def _submitted(self) -> dict[Path, str]:
        """The newest job of each folder, from what submitit kept of earlier submissions."""
        from submitit.helpers import DelayedSubmission

        newest: dict[Path, str] = {}
        for path in sorted(self.folder.glob(f'*{SUBMITTED}'), key=_number_of_job):
            try:
                run: Any = DelayedSubmission.load(path).function
            except (OSError, EOFError):  # cut short by a full disk
                continue
            newest[_key(run.task)] = path.name[: -len(SUBMITTED)]
        return newest

    def _submit(self, tasks: Sequence[Task]) -> dict[Path, str]:
        """Submit tasks as arrays of jobs; return the job of each folder."""
        import submitit

        executor = submitit.SlurmExecutor(self.folder, max_num_timeout=TIMEOUTS)
        parameters = self.options.parameters()
        if any(map(_teacher, tasks)):  # the jobs that they wait for have no id yet
            parameters['additional_parameters']['hold'] = True
        executor.update_parameters(job_name=self.folder.parent.name, **parameters)
        jobs: dict[Path, str] = {}
        for start in range(0, len(tasks), ARRAY):
            part = tasks[start : start + ARRAY]
            for task in part:
                forget_failure(task.folder)
            try:
                submitted = executor.submit_array(
                    [RunInJob(task, self.note_start) for task in part]
                )
            except (OSError, submitit.core.utils.UncompletedJobError) as error:
                raise ExecutorError(f'The runs cannot be submitted: {error}') from error
            jobs.update((_key(task), job.job_id) for task, job in zip(part, submitted))
        if jobs:
            self.say(f'{len(jobs)} runs submitted as SLURM jobs: {_arrays(list(jobs.values()))}')
        return jobs

    def _let_go(
        self,
        tasks: Sequence[Task],
        jobs: Mapping[Path, str],
        held: Collection[Job],
        new: Sequence[Task],
    ) -> None:
        """Let held jobs run, those that learn from another run only after that one.

        Args:
            tasks: All runs.
            jobs: Their jobs, by folder.
            held: The jobs of an earlier start that was interrupted before it came to this.
            new: The runs that were submitted now.
        """
        names = {job.id for job in held}
        waiting = [task for task in tasks if jobs.get(_key(task)) in names]
        if any(map(_teacher, new)):
            waiting.extend(new)
        for task in waiting:
            teacher = _teacher(task)
            if teacher is not None and _key(teacher) in jobs:
                set_dependency(jobs[_key(task)], jobs[_key(teacher)])
        if waiting:
            release([jobs[_key(task)] for task in waiting])


class _Watch:
    """What is known of each run while its job waits, runs and ends."""

    def __init__(
        self,
        tasks: Sequence[Task],
        jobs: dict[Path, str],
        report: Report,
        logs: Path,
        patience: float,
    ) -> None:
        self.open, self.jobs, self.report = list(tasks), jobs, report
        self.logs, self.patience = logs, patience
        self.failed: dict[Path, str] = {}
        self._running: set[Path] = set()
        self._gone: dict[Path, float] = {}  # since when the job of a folder is over
        self._queue: dict[str, Job] = {}

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
            teacher = _teacher(task)
            if teacher is not None and _key(teacher) in map(_key, self.open):
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
        return [self.jobs[_key(task)] for task in self.open if _key(task) in self.jobs]

    def _look_at(self, task: Task) -> None:
        folder, job = task.folder, self._queue.get(self.jobs[_key(task)])
        if job is not None and job.alive:
            self._gone.pop(folder, None)
            if not job.running:  # or not any more, since it was queued again
                self._running.discard(folder)
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

    def _failure(self, task: Task) -> str | None:
        """Why a run without a job is not finished, as far as its folder says; None if it is."""
        try:
            return None if task.next_command() is None else ''
        except (ValueError, WaitsForAnotherRun) as error:
            return str(error)

    def _how_it_ended(self, task: Task, job: Job | None) -> str:
        name = self.jobs[_key(task)]
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


def _teacher(task: Task) -> Task | None:
    """The run that a task learns from, if it is one that can learn."""
    return getattr(task, 'teacher', None)


def _key(task: Task) -> Path:
    """A folder as it is known wherever the command was started."""
    return Path(os.path.abspath(task.folder))


def _is_alive(job: Job | None) -> bool:
    return job is not None and job.alive


def _is_held(job: Job) -> bool:
    return job.alive and job.reason == HELD


def _number_of_job(path: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in path.name[: -len(SUBMITTED)].split('_'))


def _arrays(jobs: Sequence[str]) -> str:
    """The ids that stand for all of these jobs, as scancel takes them."""
    return ' '.join(sorted({job.partition('_')[0] for job in jobs}, key=int))


def _farewell(jobs: Sequence[str]) -> str:
    """Say what goes on without this process."""
    if not jobs:
        return 'Interrupted: no job was submitted.'
    return (
        f'Interrupted, but {len(jobs)} jobs go on. The same command watches them again; to cancel '
        f'them: scancel {_arrays(jobs)}'
    )
