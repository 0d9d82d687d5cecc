"""What a result was made with: command, machine and versions, recorded at every start of a run."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import torch

from mmdet_ols.experiments.executors import Task
from mmdet_ols.experiments.specification import RunSpec
from mmdet_ols.experiments.tasks import RunTask
from mmdet_ols.results.run_folder import json_lines

#: How each start of a run was made, one line of JSON each, in this file of its folder.
RECORD = 'compare.jsonl'
#: Under this name a record holds the run's specification; everything else in it is text.
SPECIFICATION = 'run'


def facts(command: Sequence[str], jobs: int, variables: Mapping[str, str]) -> dict[str, str]:
    """What a run that starts now is made with.

    Args:
        command: The words of the command line.
        jobs: How many runs go on at once.
        variables: The environment variables that the configs read, with their values.
    """
    before = ''.join(f'{name}={shlex.quote(variables[name])} ' for name in sorted(variables))
    shared = ' (the times are of runs that share the machine)' if jobs > 1 else ''
    return {
        'command': f'`{before}{shlex.join(command)}`',
        'machine': machine(jobs),
        'runs at once': f'{jobs}{shared}',
        'versions': versions(),
        'date': date.today().isoformat(),
    }


def record_start(folder: Path, facts: Mapping[str, str], spec: RunSpec) -> None:
    """Note down how a start of a run was made."""
    with (folder / RECORD).open('a', encoding='utf-8') as file:
        file.write(json.dumps({**facts, SPECIFICATION: asdict(spec)}) + '\n')


@dataclass(frozen=True)
class NodeRecorder:
    """Records the starts of runs on the node of a cluster that executes them.

    Args:
        facts: What the runs are made with, except for what the node knows better.
    """

    facts: Mapping[str, str]

    def __call__(self, task: Task) -> None:
        """Note down how a start of a run was made; nothing of what is no run."""
        if not isinstance(task, RunTask):
            return
        job = os.environ.get('SLURM_JOB_ID', '')
        of_node = {
            'machine': machine(),
            'runs at once': f'each in its own SLURM job, this one in {job}',
            'date': date.today().isoformat(),
        }
        record_start(task.folder, {**self.facts, **of_node}, task.spec)


def read_records(folder: Path) -> list[dict[str, str]]:
    """Read the facts of every start of a run."""
    path = folder / RECORD
    records = json_lines(path) if path.is_file() else []
    return [{k: fact for k, fact in record.items() if k != SPECIFICATION} for record in records]


def machine(jobs: int = 1) -> str:
    """The GPUs of this machine, its processor, and how many of its cores a run uses.

    Args:
        jobs: How many runs share the cores.
    """
    gpus = ''
    if torch.cuda.is_available():
        names = Counter(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        gpus = ''.join(f'{count} x {name}, ' for name, count in names.items())
    cpuinfo = Path('/proc/cpuinfo')
    text = cpuinfo.read_text() if cpuinfo.is_file() else ''
    models = re.findall(r'^model name\s*: (.+)', text, re.M)
    cores = len(os.sched_getaffinity(0))  # that this process may use
    threads = os.environ.get('OMP_NUM_THREADS', '')
    used = int(threads) if threads.isdecimal() else max(1, cores // jobs)
    share = f'{used} of {cores}' if used < cores else str(cores)
    noun = 'core' if cores == 1 else 'cores'
    return f'{gpus}{models[0] if models else platform.machine()}, {share} {noun}'


def versions() -> str:
    """The versions of everything that has a say in the result, with our own git commit if any."""
    import mmcv
    import mmengine

    import mmdet_ols

    hosts = [sys.modules[name] for name in ('mmdet', 'mmpretrain', 'mmyolo') if name in sys.modules]
    commit = _commit(Path(mmdet_ols.__file__))
    named = [
        f'{module.__name__} {module.__version__}' for module in (torch, mmengine, mmcv, *hosts)
    ]
    ours = f'mmdet_ols {mmdet_ols.__version__}{f" (git {commit})" if commit else ""}'
    return ', '.join([f'Python {platform.python_version()}', *named, ours])


def _commit(file: Path) -> str:
    """The commit of the checkout that a file belongs to; empty where there is none.

    An installed package may lie within the repository of a user's own project, which ignores it.
    """
    git = ['git', '-C', str(file.parent)]
    try:
        tracked = subprocess.run(
            [*git, 'ls-files', '--error-unmatch', file.name], capture_output=True
        )
        if tracked.returncode:
            return ''
        describe = [*git, 'describe', '--always', '--dirty', '--exclude=*']
        return subprocess.run(describe, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ''
