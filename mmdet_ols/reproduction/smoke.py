"""The smoke scale: every cell of the paper for a few steps on made data, in minutes on two cores.

It proves that no cell is broken, and nothing about accuracy.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import re
import shutil
import sys
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, NamedTuple

import mmdet_ols
from mmdet_ols import config_path
from mmdet_ols.experiments.executors import Report, silent
from mmdet_ols.experiments.provenance import facts, versions
from mmdet_ols.experiments.specification import needed_run
from mmdet_ols.experiments.states import LOG, State, note_failure
from mmdet_ols.methods import parse_method
from mmdet_ols.paper import Cell
from mmdet_ols.reproduction.features import FIGURE
from mmdet_ols.reproduction.made_sets import make_data
from mmdet_ols.reproduction.scales import TTA, short_option
from mmdet_ols.reproduction.smoke_kinds import kind_of_data, network_of
from mmdet_ols.reproduction.smoke_run import (
    SmokeRun,
    execute,
    read_result,
    read_row,
    write_row,
)
from mmdet_ols.results.run_folder import Run

#: A run that takes longer hangs.
TIME_LIMIT = 900
#: What each run would have to import otherwise, which takes longer than many of them.
PRELOADED = (
    'mmdet.datasets', 'mmdet.evaluation', 'mmdet.models', 'mmdet.visualization',
    'mmpretrain.datasets', 'mmpretrain.engine', 'mmpretrain.evaluation', 'mmpretrain.models',
    'mmpretrain.visualization', 'mmdet_ols.models.yolo_head', 'mmdet_ols.reproduction.smoke_run',
)  # fmt: skip


class SmokeResult(NamedTuple):
    """What came out of a run of the smoke scale.

    Attributes:
        smoke_run: The run, which knows its cells.
        state: Where it stands.
        run: What its folder says.
        made: How it was made.
        notes: What was reduced, as sentences.
        cpu_seconds: How long processors worked for it.
    """

    smoke_run: SmokeRun
    state: State
    run: Run
    made: list[dict[str, str]]
    notes: tuple[str, ...]
    cpu_seconds: float


def smoke_runs(cells: Iterable[Cell], work_dir: str | Path) -> list[SmokeRun]:
    """The distinct runs of cells, those of one network together.

    Args:
        cells: Cells of the paper, which may share runs.
        work_dir: Where all runs go.
    """
    shared: dict[tuple[str, str, tuple[str, ...], bool], list[Cell]] = {}
    for cell in cells:
        options = tuple(option for option in cell.options if option != TTA)
        method = parse_method(cell.method).text
        key = (cell.config, method, options, TTA in cell.options)
        shared.setdefault(key, []).append(cell)
    for config, method, options, _ in list(shared):  # what others learn from is run as well
        needs = needed_run(method)
        if needs is not None:
            shared.setdefault((config, needs.method, options, False), [])
    runs: dict[Any, SmokeRun] = {}
    for key in sorted(shared, key=lambda key: needed_run(key[1]) is not None):
        config, method, options, tta = key
        needs = needed_run(method)
        teacher = runs[config, needs.method, options, False] if needs else None
        folder = Path(work_dir, _slug(config, method, options, tta))
        runs[key] = SmokeRun(config, method, options, tta, folder, tuple(shared[key]), teacher)
    order = list(dict.fromkeys(network_of(key[0]) for key in shared))
    return sorted(runs.values(), key=lambda run: order.index(network_of(run.config)))


def run_smoke(
    cells: Collection[Cell],
    work_dir: str | Path,
    jobs: int = 2,
    report: Report = silent,
) -> list[SmokeResult]:
    """Run cells of the paper at the smoke scale; what is done is not done again.

    Each run has a process, forked from one that has imported everything, so that a run which is
    killed or hangs is broken like one that fails, and the others go on. What was done by other code
    than today's is done again.

    Args:
        cells: Cells of the paper, which may share runs.
        work_dir: Where all runs and the made data go.
        jobs: How many runs go on at once, each on one core.
        report: Called with 'started', 'finished' or 'failed', the folder of a run, and its name or
            what went wrong.

    Returns:
        What came out of each run.
    """
    runs = smoke_runs(cells, work_dir)
    code = code_key()
    row = dict(code=code, made=facts(sys.argv, jobs, {}))
    todo = [run for run in runs if not _is_done(run, code)]
    teachers = [run.teacher for run in todo if run.teacher is not None]
    again = [run for run in teachers if run.checkpoint is None and run not in todo]
    todo = [*dict.fromkeys(again), *todo]
    data = Path(work_dir, 'data', code)
    if todo:
        make_data(data, (kind_of_data(run.config) for run in todo))
    drawn = [run for run in todo if any(cell.table == FIGURE for cell in run.cells)]
    pool = _Pool(data, row, jobs, report, frozenset([*teachers, *drawn]))
    try:
        pool.run(todo)
    finally:
        pool.end()
    return read_smoke(cells, work_dir)


def read_smoke(cells: Iterable[Cell], work_dir: str | Path) -> list[SmokeResult]:
    """Read from the folders of runs what is there.

    Args:
        cells: Cells of the paper, which may share runs.
        work_dir: Where all runs go.
    """
    results = []
    for run in smoke_runs(cells, work_dir):
        row = read_row(run.folder)
        results.append(
            SmokeResult(
                run,
                _state_of(row),
                read_result(run, row),
                [row['made']] if row else [],
                tuple(row.get('notes', ())),
                row.get('cpu_seconds', 0.0),
            )
        )
    return results


def _state_of(row: Mapping[str, Any]) -> State:
    if not row:
        return State('waiting')
    return State('finished') if row['state'] == 'done' else State('failed', row['why'])


def by_cell(results: Iterable[SmokeResult]) -> dict[Cell, SmokeResult]:
    """The result of each cell; several cells may have the same one."""
    return {cell: result for result in results for cell in result.smoke_run.cells}


class _Pool:
    """The processes of runs."""

    def __init__(
        self,
        data: Path,
        row: Mapping[str, Any],
        jobs: int,
        report: Report,
        kept: frozenset[SmokeRun],
    ) -> None:
        self.data, self.row, self.jobs, self.report = data, row, jobs, report
        self.kept = kept  # whose checkpoints something else needs
        # The hosts ask for GPUs when they are imported. If PyTorch asked the CUDA runtime then, the
        # forked processes could no longer use it.
        os.environ['PYTORCH_NVML_BASED_CUDA_CHECK'] = '1'
        self.context = multiprocessing.get_context('forkserver')
        self.context.set_forkserver_preload(list(PRELOADED))
        self.running: dict[SmokeRun, tuple[Any, float]] = {}

    def run(self, runs: Sequence[SmokeRun]) -> None:
        """Run all, a teacher before those that learn from it."""
        waiting = list(runs)
        while waiting or self.running:
            blocking = {*waiting, *self.running}
            ready = [run for run in waiting if run.teacher not in blocking]
            for run in ready[: self.jobs - len(self.running)]:
                waiting.remove(run)
                self._start(run)
            self._check()

    def _start(self, run: SmokeRun) -> None:
        shutil.rmtree(run.folder, ignore_errors=True)
        run.folder.mkdir(parents=True)
        arguments = (run, self.data, self.row, run in self.kept)
        process = self.context.Process(target=execute, args=arguments)
        process.start()
        self.running[run] = (process, time.monotonic())
        self.report('started', run.folder, run.label)

    def _check(self) -> None:
        """Wait until a run is over, and look at what came out."""
        wait([process.sentinel for process, _ in self.running.values()], timeout=5)
        for run, (process, started) in list(self.running.items()):
            hangs = time.monotonic() - started > TIME_LIMIT
            if hangs:
                process.kill()
                process.join()
            if process.is_alive():
                continue
            process.join()
            del self.running[run]
            row = read_row(run.folder)
            if not row:
                why = f'it took longer than {TIME_LIMIT} s' if hangs else _end_of(process)
                why = f'{why}; the last it printed is in {run.folder / LOG}'
                row = dict(self.row, state='broken', why=why)
                with suppress(OSError):  # on a full disk
                    note_failure(run.folder, why)
                    write_row(run.folder, row)
            if row['state'] == 'done':
                self.report('finished', run.folder, '')
            else:
                self.report('failed', run.folder, row['why'])

    def end(self) -> None:
        """End what still runs."""
        for process, _ in self.running.values():
            process.kill()
        for process, _ in self.running.values():
            process.join()


def _end_of(process: Any) -> str:
    code = process.exitcode
    return f'signal {-code} ended its process' if code < 0 else f'its process ended with {code}'


def _is_done(run: SmokeRun, code: str) -> bool:
    row = read_row(run.folder)
    return row.get('state') == 'done' and row.get('code') == code


def code_key() -> str:
    """Hash what decides how a cell runs: this package, its configs and the versions of the hosts.

    A commit would not tell of changes that are not committed yet.
    """
    import mmdet  # noqa: F401  (`versions` knows only what was imported)
    import mmpretrain  # noqa: F401

    package = Path(mmdet_ols.__file__).parent
    configs = Path(config_path('yolo_hard_voc.py')).parent
    key = hashlib.sha256(re.sub(r', mmdet_ols .*', '', versions()).encode())
    for folder in (package, configs):
        for path in sorted(folder.rglob('*')):
            if path.suffix in ('.py', '.csv', '.cpp'):
                key.update(str(path.relative_to(folder)).encode())
                key.update(path.read_bytes())
    return key.hexdigest()[:16]


def _slug(config: str, method: str, options: Sequence[str], tta: bool) -> str:
    """The folder of a run, below that of its config."""
    words = [parse_method(method).slug, *map(short_option, options)]
    if tta:
        words.append('tta')
    name = re.sub(r'[^\w.+=-]+', '_', '_'.join(words))
    return str(Path(config).with_suffix('') / name)
