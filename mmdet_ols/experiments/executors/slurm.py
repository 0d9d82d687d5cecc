"""Executing many runs on a SLURM cluster: submitting jobs, and watching the queue and the folders.

SLURM decides what runs when and where, and queues jobs again that were preempted, ran out of time
or lost their node. Nothing here has to live as long as they do: what was submitted stands in a
folder next to the runs, and the next start goes on watching it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from mmdet_ols.experiments.executors import ExecutorError, Report, Task, silent
from mmdet_ols.experiments.executors.slurm_job import RunInJob
from mmdet_ols.experiments.executors.slurm_options import SlurmOptions
from mmdet_ols.experiments.executors.slurm_queue import (
    HELD,
    check_accepted,
    check_available,
    queued_jobs,
    release,
    set_dependency,
)
from mmdet_ols.experiments.executors.slurm_watch import Watch, key_of, teacher_of
from mmdet_ols.experiments.states import forget_failure

#: Elements of one array of jobs; SLURM's own limit is 1001 unless a cluster sets another.
ARRAY = 1000
#: What submitit adds to the id of a job for the file of what it executes.
SUBMITTED = '_submitted.pkl'
#: submitit gives a job up after this many timeouts; `RunInJob` knows better when to.
TIMEOUTS = 1_000_000


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
        poll: Seconds between two checks of the queue.
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
        self._check_machine()
        self._check_options()

    def run(self, tasks: Sequence[Task], report: Report = silent) -> dict[Path, str]:
        """Run the commands of every task, one after the other, as `Executor` describes it.

        Raises:
            ExecutorError: As for `check`, or SLURM does not answer. What SLURM accepts matters only
                where there is something to submit: it goes on with jobs that it would refuse now.
        """
        self._check_machine()
        queue = queued_jobs()
        alive = {name: job for name, job in queue.items() if job.alive}
        jobs = {key: name for key, name in self._submitted().items() if name in alive}
        watch = Watch(tasks, jobs, report, self.say, self.folder, self.patience)
        try:
            mine = [jobs[key_of(task)] for task in tasks if key_of(task) in jobs]
            if mine:
                self.say(f'{len(mine)} runs have jobs already: {_arrays(mine)}')
            new = [task for task in tasks if key_of(task) not in jobs and watch.can_go_on(task)]
            if new:
                self._check_options()
            jobs.update(self._submit(new))
            held = {name for name, job in alive.items() if job.reason == HELD}
            self._let_go(tasks, jobs, held, new)
            watch.until_the_end(self.poll)
        except KeyboardInterrupt as interrupt:
            raise KeyboardInterrupt(_farewell(watch.alive())) from interrupt
        return watch.failed

    def _check_machine(self) -> None:
        try:
            import submitit  # noqa: F401
        except ImportError as error:
            raise ExecutorError(
                '--executor slurm needs submitit: pip install "mmdet_ols[cluster]".'
            ) from error
        check_available()
        trial = self.folder / '.writable'
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            trial.touch()
            trial.unlink()
        except OSError as error:
            raise ExecutorError(f'Nothing can be submitted from {self.folder}: {error}') from error

    def _check_options(self) -> None:
        with _submitting(self.options):
            check_accepted(self.options.flags())

    def _submitted(self) -> dict[Path, str]:
        """The newest job of each folder, from what submitit kept of earlier submissions."""
        from submitit.helpers import DelayedSubmission

        newest: dict[Path, str] = {}
        for path in sorted(self.folder.glob(f'*{SUBMITTED}'), key=_number_of_job):
            try:
                run: Any = DelayedSubmission.load(path).function
            except (OSError, EOFError, UnpicklingError):  # cut short by a full disk
                continue
            # Jobs that an earlier release submitted have no `key`.
            newest[getattr(run, 'key', key_of(run.task))] = path.name[: -len(SUBMITTED)]
        return newest

    def _submit(self, tasks: Sequence[Task]) -> dict[Path, str]:
        """Submit tasks as arrays of jobs; return the job of each folder."""
        import submitit

        executor = submitit.SlurmExecutor(self.folder, max_num_timeout=TIMEOUTS)
        parameters = self.options.parameters()
        if any(map(teacher_of, tasks)):  # the jobs that they wait for have no id yet
            parameters['additional_parameters']['hold'] = True
        executor.update_parameters(job_name=self.folder.parent.name, **parameters)
        jobs: dict[Path, str] = {}
        for start in range(0, len(tasks), ARRAY):
            part = tasks[start : start + ARRAY]
            for task in part:
                forget_failure(task.folder)
            cpu_only = self.options.gpus == 0
            runs = [RunInJob(task, self.note_start, cpu_only) for task in part]
            try:
                with _submitting(self.options):
                    submitted = executor.submit_array(runs)
            except (OSError, submitit.core.utils.UncompletedJobError) as error:
                raise ExecutorError(f'The runs cannot be submitted: {error}') from error
            jobs.update((key_of(task), job.job_id) for task, job in zip(part, submitted))
        if jobs:
            self.say(f'{len(jobs)} runs submitted as SLURM jobs: {_arrays(list(jobs.values()))}')
        return jobs

    def _let_go(
        self,
        tasks: Sequence[Task],
        jobs: Mapping[Path, str],
        held: Collection[str],
        new: Sequence[Task],
    ) -> None:
        """Let held jobs run, those that learn from another run only after that one.

        Args:
            tasks: All runs.
            jobs: Their jobs, by folder.
            held: The jobs of an earlier start that was interrupted before it came to this.
            new: The runs that were submitted now.
        """
        waiting = [task for task in tasks if jobs.get(key_of(task)) in held]
        if any(map(teacher_of, new)):
            waiting.extend(new)
        for task in waiting:
            teacher = teacher_of(task)
            if teacher is not None and key_of(teacher) in jobs:
                set_dependency(jobs[key_of(task)], jobs[key_of(teacher)])
        if waiting:
            release([jobs[key_of(task)] for task in waiting])


@contextmanager
def _submitting(options: SlurmOptions) -> Iterator[None]:
    """Hide the environment variables that sbatch, or a job, would follow rather than the options.

    A job in which this process runs has set such variables as well, for itself only.
    """
    names = options.overruled_by()
    if 'SLURM_JOB_ID' in os.environ:
        of_job = (name for name in os.environ if name.startswith(('SLURM_', 'SLURMD_', 'SRUN_')))
        names.extend(name for name in of_job if name != 'SLURM_CONF')
    hidden = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)


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
