"""One run of the smoke scale, in a process of its own: training, test, and its flaws."""

from __future__ import annotations

import copy
import gc
import json
import math
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from mmdet_ols import config_path
from mmdet_ols.checks.checkpoints import loading_rules
from mmdet_ols.checks.evaluation import check_evaluation
from mmdet_ols.checks.losses import check_losses
from mmdet_ols.checks.start import check_start
from mmdet_ols.core.whole_files import whole_file
from mmdet_ols.engine.launch import build_runner
from mmdet_ols.engine.loops import build_for_testing, build_for_training
from mmdet_ols.engine.run_config import read_config
from mmdet_ols.engine.tta import use_tta
from mmdet_ols.experiments.readiness import hooks_of_tests
from mmdet_ols.experiments.specification import needed_run, with_checkpoint
from mmdet_ols.experiments.states import locked_log, note_failure
from mmdet_ols.methods import METHODS, parse_method
from mmdet_ols.paper import Cell, figures
from mmdet_ols.reproduction.smoke_config import reduced
from mmdet_ols.results.metrics import metric_of
from mmdet_ols.results.run_folder import OWN_GROUP, Run, newest_checkpoint, read_lines, read_run

#: What came out of a run, in this file of its folder.
ROW = 'smoke.json'
#: What pictures show that have no figures of the paper's.
SHOWN = {
    'Fig. 3': ('top1_error',),
    'Fig. 4': ('top1_error', 'train/top1_error'),
    'Fig. 5': ('train/wrong_label_error',),
    'Fig. 7a': ('top1_error',),
    'Fig. 7b': ('top1_error',),
}


@dataclass(frozen=True)
class SmokeRun:
    """A run of the smoke scale; several cells may be the same one.

    Args:
        config: Path below `configs/`.
        method: As for the tools' `--method`.
        options: What overrides entries of the config before that, each `KEY=VALUE`.
        tta: Whether it is tested with test-time augmentation.
        folder: Its work directory.
        cells: The paper's cells that it makes.
        teacher: The run that it learns from.
    """

    config: str
    method: str
    options: tuple[str, ...]
    tta: bool
    folder: Path
    cells: tuple[Cell, ...] = ()
    teacher: SmokeRun | None = None

    @property
    def label(self) -> str:
        """Its name for people."""
        words = [self.config, self.method, *self.options]
        if self.tta:
            words.append('--tta')
        return ' '.join(words)

    @property
    def test_folder(self) -> Path:
        """The work directory of its test."""
        return self.folder / ('test_tta' if self.tta else 'test')

    @property
    def checkpoint(self) -> Path | None:
        """The checkpoint of its last epoch, if that is still there."""
        path = newest_checkpoint(self.folder)
        return path if path is not None and path.is_file() else None


def execute(run: SmokeRun, data: Path, row: Mapping[str, Any], keep: bool = False) -> None:
    """Train and test a run, and write into its folder what came out.

    Args:
        run: The run.
        data: The folder of the made data.
        row: What the row of the run is to hold in addition.
        keep: Whether its last checkpoint is kept, since something else needs it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one ends it
    threading.Thread(target=_end_with_starter, daemon=True).start()
    _redirect(run.folder)
    gc.freeze()  # what was imported stays
    torch.set_num_threads(1)  # its steps are too small to be shared among cores
    started, result = time.time(), dict(row, state='broken', why='', notes=[])
    try:
        result.update(_train_and_test(run, data))
        result['why'] = '; '.join(_flaws(run, result))
        if not result['why']:
            result['state'] = 'done'
    except BaseException as error:
        traceback.print_exc()
        result['why'] = f'{type(error).__name__}: {error}'
    result.update(seconds=time.time() - started, cpu_seconds=time.process_time())
    for path in run.folder.rglob('*.pth'):
        if not (keep and path == run.checkpoint):
            path.unlink()
    if result['why']:
        note_failure(run.folder, result['why'])
    write_row(run.folder, result)


def write_row(folder: Path, row: Mapping[str, Any]) -> None:
    """Write what came out of a run."""
    with whole_file(folder / ROW) as file:
        json.dump(row, file, indent=1)


def read_row(folder: Path) -> dict[str, Any]:
    """Read what came out of a run; empty where there is nothing yet."""
    try:
        return json.loads((folder / ROW).read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}


def read_result(run: SmokeRun, row: Mapping[str, Any]) -> Run:
    """Read how far a run is, and what it reached.

    Args:
        run: The run.
        row: As `read_row` gives it.
    """
    return read_run(
        run.folder,
        row.get('length', 0),
        test_folder=run.test_folder,
        needs_test=row.get('needs_test', False),
    )


def _end_with_starter() -> None:
    """End this process when the one that started it has ended, however that was."""
    starter = multiprocessing.parent_process()
    if starter is not None:
        starter.join()
        os._exit(1)


def _redirect(folder: Path) -> None:
    """Let all that this process prints go into the log of a folder, with what libraries print."""
    sys.stdout.flush()
    sys.stderr.flush()
    log = locked_log(folder)
    for stream in (1, 2):
        os.dup2(log.fileno(), stream)  # which holds the lock as well


def _train_and_test(run: SmokeRun, data: Path) -> dict[str, Any]:
    """Do what `tools/train.py` and `tools/test.py` do, for a config that is made small."""
    cfg = read_config(config_path(run.config), options=run.options, work_dir=run.folder)
    cfg, notes = reduced(cfg, _taught(run), data)
    cfg.experiment_name = 'train'
    test = copy.deepcopy(cfg)
    needs_test = run.tta or bool(hooks_of_tests(cfg))
    with loading_rules(False):
        check_losses(cfg)
        check_evaluation(cfg)
        runner = build_runner(cfg)
        build_for_training(runner)
        check_start(runner)
        runner.train()
        if needs_test:
            _test(test, run)
    return dict(
        notes=notes,
        needs_test=needs_test,
        length=cfg.train_cfg['max_epochs'],
        paper_cell=dict(cfg.get('paper_cell') or {}),
    )


def _taught(run: SmokeRun) -> str:
    """The method of a run, which names the checkpoint that it learns from."""
    needs = needed_run(run.method)
    if needs is None or run.teacher is None:
        return run.method
    if run.teacher.checkpoint is None:
        raise ValueError(
            f'It learns from {run.teacher.label}, but {run.teacher.folder} holds no checkpoint: '
            'that run is broken.'
        )
    return with_checkpoint(run.method, needs, str(run.teacher.checkpoint))


def _test(cfg: Config, run: SmokeRun) -> None:
    cfg.load_from, cfg.work_dir = str(run.checkpoint), str(run.test_folder)
    cfg.experiment_name = 'test'
    if run.tta:
        use_tta(cfg)
    runner = build_runner(cfg)
    build_for_testing(runner)
    check_start(runner, trained=True)
    runner.test()


def _flaws(run: SmokeRun, row: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a run that has come to its end, each as a sentence."""
    result = read_result(run, row)
    steps = [line for line in read_lines(run.folder, result.length) if 'iter' in line]
    if not any('loss' in key for line in steps for key in line):
        yield 'It did no training step.'
    for line in steps:
        for key, value in line.items():
            if 'loss' in key and not math.isfinite(value):
                yield f'`{key}` of step {line["step"]} is {value}.'
    parts = [name for name, _ in parse_method(run.method).parts]
    scalars = read_lines(run.folder, result.length, name='scalars.json')
    rolled = any(key.startswith(OWN_GROUP) for line in scalars for key in line)
    if any(METHODS[name].rolls_over for name in parts) and not rolled:
        yield 'Its soft labels were never rolled over.'
    yield from _missing(run, row, result.final or {})


def _missing(run: SmokeRun, row: Mapping[str, Any], metrics: Mapping[str, float]) -> Iterator[str]:
    """Say which of the paper's numbers the metrics of a run would not give."""
    if not metrics:
        yield 'It logged no metrics.'
        return
    names = {name: value for key, value in metrics.items() for name in metric_of(key).names}
    for name, table in dict.fromkeys(wanted_metrics(run, row['paper_cell'])):
        if name not in names:
            yield f'It did not log {name} of {_place(table)}, only {", ".join(metrics)}.'
        elif not math.isfinite(names[name]):
            yield f'{name} of {_place(table)} is {names[name]}.'


def wanted_metrics(run: SmokeRun, paper_cell: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The metrics that the cells of a run are about, each with its table."""
    tables = {cell.table for cell in run.cells}
    for figure in figures(paper_cell, run.method) if paper_cell else ():
        if figure['table'] in tables:
            yield figure['metric'], figure['table']
    for table in sorted(tables & set(SHOWN)):
        for name in SHOWN[table]:
            yield name, table


def _place(table: str) -> str:
    return table if re.match(r'Fig|V-E', table) else f'Table {table}'
