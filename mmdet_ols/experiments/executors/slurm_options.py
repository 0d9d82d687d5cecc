"""What a SLURM cluster is asked for, as words KEY=VALUE of a command line."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: The keys that mean the same on every cluster, with what they take.
KEYS = {
    'time': "a run's time limit as SLURM writes it, as in 24:00:00 or 2-00:00:00; a run that needs "
    'more is queued again and resumed',
    'gpus': 'GPUs of a run: 1, or 0 to train on CPUs',
    'cpus': "cores of a run, for the training and its data loaders' processes",
    'memory': 'memory of a run, as in 32G',
    'at_once': 'how many runs at once, as far as the cluster has room',
}
#: What sbatch calls some of them.
SBATCH_NAMES = {'cpus-per-task': 'cpus', 'mem': 'memory'}
#: Options of sbatch that the executor sets itself.
RESERVED = (
    'array', 'chdir', 'dependency', 'error', 'export', 'hold', 'job-name', 'kill-on-invalid-dep',
    'nodes', 'no-requeue', 'ntasks', 'ntasks-per-node', 'open-mode', 'output', 'requeue', 'signal',
    'test-only', 'wait', 'wrap',
)  # fmt: skip
#: Minutes that a job needs to start, and to be told in time that it has to stop.
SHORTEST = 5
#: They may name GPUs in place of `gpus`.
NAMING_GPUS = ('gres', 'gpus-per-node', 'gpus-per-task')
#: How sbatch's environment variables call options that they do not call by their names.
NAMES_IN_VARIABLES = {'array': 'array_inx', 'mem': 'mem_per_node', 'time': 'timelimit'}


@dataclass(frozen=True)
class SlurmOptions:
    """What a run is given on a cluster.

    Args:
        minutes: Its time limit.
        gpus: How many GPUs it gets; None where `others` says so.
        cpus: How many cores; None leaves it to the cluster.
        memory: How much memory; None leaves it to the cluster.
        at_once: How many runs go on at once.
        others: Further options of sbatch, such as partition, account, qos and constraint.
    """

    minutes: int
    gpus: int | None = None
    cpus: int | None = None
    memory: str | None = None
    at_once: int = 256
    others: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, words: Sequence[str]) -> SlurmOptions:
        """Read words KEY=VALUE.

        Raises:
            ValueError: A word cannot be used, or one that is needed is missing.
        """
        given = _given(words)
        if 'time' not in given:
            raise ValueError(f'--slurm needs time=LIMIT: {KEYS["time"]}.')
        minutes = minutes_of(given['time'])
        if minutes < SHORTEST:
            raise ValueError(
                f'--slurm time={given["time"]} must be at least {SHORTEST} minutes: a job is told '
                'to stop 90 seconds before its end.'
            )
        others = {key: value for key, value in given.items() if key not in KEYS}
        if 'gpus' in given:
            gpus = _number('gpus', given['gpus'], 0)
        elif any(key in others for key in NAMING_GPUS):
            gpus = None
        else:
            raise ValueError(f'--slurm needs gpus=N: {KEYS["gpus"]}.')
        if gpus is not None and gpus > 1:
            raise ValueError(
                f'--slurm gpus={gpus}: a run is one process, which uses one GPU. Ask for gpus=1, '
                'and for more runs at once.'
            )
        cpus, at_once = given.get('cpus'), given.get('at_once')
        return cls(
            minutes,
            gpus,
            None if cpus is None else _number('cpus', cpus),
            given.get('memory'),
            cls.at_once if at_once is None else _number('at_once', at_once),
            others,
        )

    def flags(self) -> list[str]:
        """What sbatch is asked for, as its own options."""
        return [f'--{key}={value}' for key, value in self._wanted().items()]

    def overruled_by(self) -> list[str]:
        """The environment variables that sbatch would follow rather than what it is asked for."""
        options = {*self._wanted(), *RESERVED, *NAMING_GPUS, 'gpus', 'clusters'}
        names = (NAMES_IN_VARIABLES.get(option, option) for option in options)
        return [f'SBATCH_{name}'.upper().replace('-', '_') for name in names]

    def _wanted(self) -> dict[str, object]:
        wanted = {'time': self.minutes, 'cpus-per-task': self.cpus, 'mem': self.memory}
        wanted['gpus-per-node'] = self.gpus or None
        wanted.update(self.others)
        return {key: value for key, value in wanted.items() if value is not None}

    def parameters(self) -> dict[str, Any]:
        """The same as submitit names it, and what every run needs."""
        parameters: dict[str, Any] = {'time': self.minutes, 'array_parallelism': self.at_once}
        parameters['wckey'] = None  # submitit has one of its own, which clusters refuse
        if self.gpus:
            parameters['gpus_per_node'] = self.gpus
        if self.cpus:
            parameters['cpus_per_task'] = self.cpus
            # Since SLURM 22.05 srun gives its processes one core unless it is told again.
            parameters['srun_args'] = [f'--cpus-per-task={self.cpus}']
        if self.memory:
            parameters['mem'] = self.memory
        # Clusters may have switched off that jobs are queued again after their node was lost.
        # submitit finds its job by variables; clusters may have switched off that jobs get any.
        own = {'export': 'ALL', 'requeue': True, 'kill-on-invalid-dep': 'yes', 'ntasks': 1}
        parameters['additional_parameters'] = {**self.others, **own}
        return parameters


def minutes_of(limit: str) -> int:
    """Read a time limit as SLURM writes it; parts of a minute count as a whole one.

    >>> minutes_of('90'), minutes_of('24:00:00'), minutes_of('2-12'), minutes_of('1:30')
    (90, 1440, 3600, 2)
    """
    match = re.fullmatch(r'(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?', limit)
    if match is None:
        raise ValueError(f'--slurm time={limit} must be a time limit such as 24:00:00 or 2-00:00.')
    days, *parts = match.groups()
    numbers = [int(part) for part in parts if part is not None]
    if days is None and len(numbers) < 3:  # minutes, or minutes and seconds
        numbers.insert(0, 0)
    hours, minutes, seconds = [*numbers, 0, 0][:3]
    return math.ceil((int(days or 0) * 24 + hours) * 60 + minutes + seconds / 60)


def _given(words: Sequence[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition('=')
        key = name.lstrip('-') if name.startswith('--') else name
        if not equals or not value or not re.fullmatch(r'[a-z][a-z_-]*', key):
            raise ValueError(f'--slurm takes KEY=VALUE, as in partition=gpu, but got {word!r}.')
        if key not in KEYS:
            key = key.replace('_', '-')
        key = SBATCH_NAMES.get(key, key)
        if key in given:
            raise ValueError(f'--slurm names {key} twice.')
        if key in ('cluster', 'clusters'):
            raise ValueError(
                f'--slurm {key}={value}: jobs are watched on the cluster of this machine only. '
                'Start from a login node of the other one.'
            )
        if key in RESERVED:
            raise ValueError(f'--slurm {key}: the executor sets this option of sbatch itself.')
        given[key] = value
    return given


def _number(key: str, text: str, least: int = 1) -> int:
    if not text.isdecimal() or int(text) < least:
        raise ValueError(f'--slurm {key} must be a number of at least {least}, but got {text!r}.')
    return int(text)
