"""The options that say what executes many runs, for the tools that start them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

from mmdet_ols.experiments.executors import Executor
from mmdet_ols.experiments.executors.local import LocalExecutor
from mmdet_ols.experiments.executors.slurm import SlurmExecutor
from mmdet_ols.experiments.executors.slurm_options import KEYS, SlurmOptions
from mmdet_ols.experiments.provenance import NodeRecorder


def add_executor_options(parser: argparse.ArgumentParser) -> None:
    """Add `--jobs`, `--executor` and `--slurm`, for `check_executor` and `executor_from`."""
    parser.add_argument(
        '--jobs', type=int, default=1, help='how many runs at once on this machine (1)'
    )
    parser.add_argument(
        '--executor',
        choices=['local', 'slurm'],
        default='local',
        help='what executes the runs: this machine, or jobs of a SLURM cluster (local)',
    )
    keys = '; '.join(f'{key}: {meaning}' for key, meaning in KEYS.items())
    parser.add_argument(
        '--slurm',
        nargs='+',
        action='extend',
        default=[],
        metavar='KEY=VALUE',
        help='what a run gets on the cluster, as in time=24:00:00 gpus=1 partition=gpu at_once=8 '
        f'({keys}; and any further option of sbatch)',
    )


def check_executor(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Refuse options that contradict each other; read `args.slurm` into `SlurmOptions`."""
    if args.jobs < 1:
        parser.error(f'--jobs must be at least 1, but got {args.jobs}')
    if args.executor == 'local':
        if args.slurm:
            parser.error('--slurm describes jobs of a cluster: add --executor slurm')
        return
    if args.jobs != 1:
        parser.error('--jobs is for this machine; with --executor slurm say --slurm at_once=N')
    try:
        args.slurm = SlurmOptions.parse(args.slurm)
    except ValueError as error:
        parser.error(str(error))


def runs_at_once(args: argparse.Namespace) -> int:
    """How many runs go on at once, as far as the options know."""
    return args.slurm.at_once if args.executor == 'slurm' else args.jobs


def executor_from(
    args: argparse.Namespace,
    work_dir: str | Path,
    facts: Mapping[str, str],
    say: Callable[[str], None],
) -> Executor:
    """Make the executor that the options ask for.

    Args:
        args: Of a parser with `add_executor_options`.
        work_dir: Where the runs go; what is submitted to a cluster is kept in its folder `slurm`.
        facts: What the runs are made with, as `provenance.facts` gives it. A job of a cluster
            records them itself at its start, with its own machine; on this machine the caller does,
            for 'started'.
        say: Called with what a user should know.
    """
    if args.executor == 'local':
        return LocalExecutor(args.jobs)
    return SlurmExecutor(slurm_folder(work_dir), args.slurm, NodeRecorder(facts), say)


def slurm_folder(work_dir: str | Path) -> Path:
    """Where what is submitted to a SLURM cluster is kept."""
    return Path(work_dir, 'slurm')
