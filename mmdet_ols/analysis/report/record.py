"""Everything that the work directory of a training says, read once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mmengine.config import Config

from mmdet_ols.analysis.report.history import read_history
from mmdet_ols.analysis.split_data import run_seed
from mmdet_ols.checks.checkpoints import load_checkpoint
from mmdet_ols.config_tree import ols_hooks
from mmdet_ols.engine.run_config import merge_options
from mmdet_ols.results.run_folder import (
    Run,
    dumped_configs,
    read_lines,
    read_run,
    training_folders,
    val_interval_of,
)


class Schedule(NamedTuple):
    """How long a training is to be, and what its loop counts."""

    #: 'epoch' or 'iteration'.
    unit: str
    length: int
    val_interval: int

    @property
    def by_epoch(self) -> bool:
        """Whether the loop counts epochs."""
        return self.unit == 'epoch'


class Curves(NamedTuple):
    """What a run logged, restarts merged: while training, and at the ends of epochs."""

    training: list[dict[str, Any]]
    epochs: list[dict[str, Any]]


@dataclass
class TrainingRecord:
    """A training, finished or not, as its work directory tells of it."""

    folder: Path
    cfg: Config
    schedule: Schedule
    run: Run
    curves: Curves
    #: Name and value of what the last start logged about its machine.
    machine: list[tuple[str, str]]
    #: The unit that OLSHook counts: that of the loop, or iterations on request.
    period: str
    #: The checkpoint to look into and what it holds; None where there is none that can be read.
    checkpoint: Path | None = None
    content: dict[str, Any] = field(default_factory=dict)
    #: {loss: {step: matrix}}, ordered by step.
    history: dict[str, dict[int, np.ndarray]] = field(default_factory=dict)
    #: What is missing, in sentences.
    notes: list[str] = field(default_factory=list)

    @property
    def classes(self) -> list[str]:
        """Names of the classes, as far as checkpoint or config tell."""
        meta = self.content.get('meta', {}).get('dataset_meta') or self.cfg.get('metainfo') or {}
        return [str(name) for name in meta.get('classes') or meta.get('CLASSES') or ()]


def read_training(
    folder: str | Path,
    checkpoint: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    change_config: Callable[[Config], None] | None = None,
) -> TrainingRecord:
    """Read the work directory of a training by MMEngine.

    Args:
        folder: The work directory.
        checkpoint: Checkpoint to look into; the last one by default.
        options: Config entries that changed since, such as the place of the data.
        change_config: Called with the config after that, for changes that are no single entries.

    Raises:
        FileNotFoundError: The folder holds no training, or there is no `checkpoint`.
        ValueError: `checkpoint` was given and cannot be read, or the config has no place for an
            option.
    """
    folder = Path(folder)
    starts = training_folders(folder)
    cfg = _read_config(folder, starts)
    merge_options(cfg, options or {})
    if change_config is not None:
        change_config(cfg)
    schedule = _schedule(cfg)
    length, by_epoch, val_interval = schedule.length, schedule.by_epoch, schedule.val_interval
    run = read_run(folder, length, by_epoch, val_interval=val_interval)
    hooks_by_epoch = all(hook.get('by_epoch') is not False for hook in ols_hooks(cfg))
    record = TrainingRecord(
        folder,
        cfg,
        schedule,
        run,
        read_curves(folder, length, by_epoch, val_interval),
        machine=_machine(starts[-1]),
        period=schedule.unit if hooks_by_epoch else 'iteration',
    )
    since = _diverged_at(record.curves)
    if since is not None:
        record.notes.append(
            f'The training diverged: its losses are not finite from iteration {since} on.'
        )
    _load_checkpoint(record, checkpoint)
    record.history, damaged = read_history(folder, record.content, record.period)
    if damaged:
        names = ', '.join(str(path.relative_to(folder)) for path in damaged)
        record.notes.append(f'Soft labels that cannot be read are left out: {names}')
    return record


def read_curves(
    folder: str | Path, length: int, by_epoch: bool = True, val_interval: int = 1
) -> Curves:
    """Read everything that was logged, restarts merged; the arguments are those of `read_lines`."""
    merged = read_lines(folder, length, by_epoch, val_interval, 'scalars.json')
    training = [line for line in merged if 'iter' in line]
    return Curves(training, [line for line in merged if 'iter' not in line])


def _read_config(folder: Path, starts: list[Path]) -> Config:
    paths = dumped_configs(folder) or sorted(folder.glob('*.py'))
    if not starts or not paths:
        if folder.is_file():
            fault = f'is a file: name its folder, {folder.parent}.'
        else:
            fault = f'holds none{_runs_inside(folder)}.' if folder.is_dir() else 'does not exist.'
        raise FileNotFoundError(
            f'{folder} must be the work directory of a training, with the config and the '
            f'scalars.json that MMEngine writes there, but it {fault}'
        )
    return Config.fromfile(paths[-1])


def _runs_inside(folder: Path) -> str:
    """The hint at a training in a folder of several, such as that of a comparison."""
    scalars = [path for depth in ('*', '*/*') for path in folder.glob(f'{depth}/*/vis_data/*.json')]
    return f': name one of the runs in it, such as {min(scalars).parents[2]}' if scalars else ''


def _schedule(cfg: Config) -> Schedule:
    train_cfg = cfg.get('train_cfg') or {}
    return Schedule(
        'epoch' if 'max_epochs' in train_cfg else 'iteration',
        train_cfg.get('max_epochs') or train_cfg.get('max_iters') or 0,
        val_interval_of(train_cfg),
    )


def _diverged_at(curves: Curves) -> int | None:
    """The iteration of the first of the last log lines whose losses are not finite."""
    since = None
    for line in reversed(curves.training):
        losses = [value for key, value in line.items() if 'loss' in key]
        if all(np.isfinite(value) for value in losses if isinstance(value, (int, float))):
            break
        since = line['iter']
    return since


def _machine(start: Path) -> list[tuple[str, str]]:
    """What MMEngine writes about the machine at the beginning of a log."""
    log = start / f'{start.name}.log'
    text = log.read_text(errors='replace')[:20000] if log.is_file() else ''
    names = r'Python|PyTorch|TorchVision|MMEngine|CUDA available|GPU [\d,]+'
    lines = re.findall(rf'^ +({names}): (.+)$', text, re.M)
    return [(name, value.strip()) for name, value in lines]


def _load_checkpoint(record: TrainingRecord, checkpoint: str | Path | None) -> None:
    path = Path(checkpoint) if checkpoint else record.run.last_checkpoint
    if path is None:
        record.notes.append('There is no checkpoint yet, so the report says nothing about images.')
        return
    try:
        record.content = load_checkpoint(path)
    except (FileNotFoundError, ValueError) as error:
        if checkpoint:  # asked for by name
            raise
        record.notes.append(f'The report says nothing about images: {error}')
    else:
        record.checkpoint = path
        seed = record.content.get('meta', {}).get('seed')
        if run_seed(record.cfg) is None and seed is not None:  # which MMEngine drew
            record.cfg.merge_from_dict({'randomness.seed': seed})
