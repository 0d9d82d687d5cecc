"""Asking SLURM about jobs, with `squeue` and `scontrol`: accounting (`sacct`) is not needed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import NamedTuple

from mmdet_ols.experiments.executors import ExecutorError

#: The states of jobs that will not run again.
ENDED = (
    'BOOT_FAIL', 'CANCELLED', 'COMPLETED', 'DEADLINE', 'FAILED', 'NODE_FAIL', 'OUT_OF_MEMORY',
    'PREEMPTED', 'REVOKED', 'TIMEOUT',
)  # fmt: skip
#: Why a job waits that was submitted in order to be released later.
HELD = 'JobHeldUser'


class Job(NamedTuple):
    """A job, or one element of an array of jobs, as the queue shows it."""

    id: str
    state: str
    reason: str
    nodes: str

    @property
    def alive(self) -> bool:
        """Whether it runs or will run."""
        return self.state not in ENDED

    @property
    def running(self) -> bool:
        """Whether it is at work on a node."""
        return self.state == 'RUNNING'


def queued_jobs() -> dict[str, Job]:
    """List the user's jobs, by id: those that wait or run, and those that ended minutes ago.

    Raises:
        ExecutorError: SLURM does not answer.
    """
    command = ['squeue', '--me', '--array', '--noheader', '--states=all', '--format=%i|%T|%r|%N']
    jobs = [Job(*line.strip().split('|', 3)) for line in _answer(command).splitlines() if line]
    return {job.id: job for job in jobs}


def check_available() -> None:
    """Make sure that this machine can submit jobs.

    Raises:
        ExecutorError: It cannot.
    """
    missing = [tool for tool in ('sbatch', 'squeue', 'scontrol') if shutil.which(tool) is None]
    if missing:
        raise ExecutorError(
            f'--executor slurm needs SLURM, but this machine has no {" and no ".join(missing)}: '
            'start from a login node of the cluster, or leave out --executor.'
        )


def check_accepted(flags: Sequence[str]) -> None:
    """Let SLURM check the options of jobs without submitting any.

    Raises:
        ExecutorError: It does not accept them.
    """
    command = ['sbatch', '--test-only', *flags, '--wrap=true']
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ExecutorError(
            f'SLURM does not accept these options of --slurm ({" ".join(flags)}): '
            f'{done.stderr.strip()}'
        )


def set_dependency(job: str, dependency: str) -> None:
    """Let a waiting job run only after another one has succeeded.

    Raises:
        ExecutorError: SLURM refuses.
    """
    _answer(['scontrol', 'update', f'JobId={job}', f'Dependency=afterok:{dependency}'])


def release(jobs: Sequence[str]) -> None:
    """Let held jobs run.

    Raises:
        ExecutorError: SLURM refuses.
    """
    _answer(['scontrol', 'release', ','.join(jobs)])


def _answer(command: Sequence[str]) -> str:
    """Run a tool of SLURM and return what it prints, whatever a user wants `squeue` to show."""
    env = {name: text for name, text in os.environ.items() if not name.startswith('SQUEUE_')}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    if done.returncode:
        raise ExecutorError(f'{command[0]} failed: {done.stderr.strip() or done.stdout.strip()}')
    return done.stdout
