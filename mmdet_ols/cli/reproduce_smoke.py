"""The smoke scale of `reproduce`: every cell for a few steps, on this machine."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from mmdet_ols.cli.options import command_line, user_errors
from mmdet_ols.experiments.display import make_console
from mmdet_ols.experiments.executors.local import LocalExecutor
from mmdet_ols.experiments.starter import starting
from mmdet_ols.experiments.states import State
from mmdet_ols.experiments.tables import duration
from mmdet_ols.paper import Cell, apply_choices, cells
from mmdet_ols.reproduction.features import FIGURE, picture_task
from mmdet_ols.reproduction.page import write_page
from mmdet_ols.reproduction.request import PaperRequest
from mmdet_ols.reproduction.results import CellResult
from mmdet_ols.reproduction.scales import SMOKE, figures_of
from mmdet_ols.reproduction.smoke import SmokeResult, by_cell, read_smoke, run_smoke, smoke_runs
from mmdet_ols.reproduction.smoke_kinds import one_of_each_kind

#: Of t-SNE: neighbours of a point, of which there are as few as images.
PERPLEXITY = 3.0


def show(request: PaperRequest, work_dir: Path) -> None:
    """Show which cells there are, and which of them are done."""
    made = _made_cells(request)
    _show(made, read_smoke(made.values(), work_dir), make_console())


def run(request: PaperRequest, work_dir: Path, args: argparse.Namespace) -> None:
    """Run the cells that are not done, and write the page."""
    if args.executor != 'local':
        sys.exit('error: the smoke scale runs on this machine: leave --executor out')
    made = _made_cells(request)
    request.save(work_dir)
    console = make_console()
    total = len(smoke_runs(made.values(), work_dir))
    bar = Progress(
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    task = bar.add_task('runs', total=total)

    def report(event: str, folder: Path, text: str) -> None:
        if event == 'failed':
            bar.console.print(f'{folder} failed: {text}', soft_wrap=True)
        if event in ('finished', 'failed'):
            bar.advance(task)

    with starting(work_dir, command_line()) as other, user_errors(), bar:
        if other is not None:  # two processes would remove each other's folders
            raise ValueError(
                f'These runs were started by {other}: wait for it, or name another --work-dir.'
            )
        results = run_smoke(made.values(), work_dir, args.jobs, report)
        picture = picture_task(_cell_results(made, results), work_dir, PERPLEXITY)
        undrawn = LocalExecutor().run([picture], report) if picture else {}
        bar.update(task, completed=total)  # with those that were done before
    _show(made, results, console)
    page(request, work_dir)
    broken = [result for result in results if result.state.name != 'finished']
    if broken:
        sys.exit(f'error: {len(broken)} of {len(results)} runs are broken, as said above')
    if undrawn:
        sys.exit(f'error: {FIGURE} could not be drawn, as said above')


def page(request: PaperRequest, work_dir: Path) -> None:
    """Write the page of all tables, since others may have been asked for before.

    Where only cells of each kind are asked for, the others count only if they were run.
    """
    made = _made_cells(replace(request, tables=(), each_kind=False))
    rows = _cell_results(made, read_smoke(made.values(), work_dir))
    if request.each_kind:
        asked = _made_cells(request)
        rows = [row for row in rows if row.cell in asked or row.states != {0: State('waiting')}]
    paths = write_page(rows, work_dir, SMOKE, {'seed': '0'})
    print(f'Written: {paths[0]}')


def _made_cells(request: PaperRequest) -> dict[Cell, Cell]:
    """The cells of the paper that are asked for, each as it is made with the choices."""
    with user_errors():
        asked = [cell for name in request.tables or (None,) for cell in cells(name)]
        asked = one_of_each_kind(asked) if request.each_kind else asked
        return {cell: apply_choices(cell, request.choices) for cell in asked}


def _cell_results(made: dict[Cell, Cell], results: Sequence[SmokeResult]) -> list[CellResult]:
    of = by_cell(results)
    return [_cell_result(cell, of[one]) for cell, one in made.items()]


def _cell_result(cell: Cell, result: SmokeResult) -> CellResult:
    run = result.smoke_run
    return CellResult(
        cell,
        figures_of(cell),
        run.config,
        run.method,
        run.options,
        runs={0: result.run},
        made={0: result.made},
        states={0: result.state},
        notes=result.notes,
    )


def _show(made: dict[Cell, Cell], results: Sequence[SmokeResult], console: Console) -> None:
    """Print how many cells of each table are done, broken or waiting, and the broken ones."""
    of = by_cell(results)
    states: dict[str, Counter] = {}
    for cell, one in made.items():
        states.setdefault(cell.table, Counter())[of[one].state.name] += 1
    table = Table('table', 'cells', 'done', 'broken', 'waiting')
    for name, counts in states.items():
        numbers = (counts[state] for state in ('finished', 'failed', 'waiting'))
        table.add_row(name, str(sum(counts.values())), *map(str, numbers))
    console.print(table)
    seconds = sum(result.cpu_seconds for result in results)
    console.print(f'{len(results)} runs; the finished ones took {duration(seconds)} of one core')
    for result in results:
        if result.state.name == 'failed':
            text = f'{result.smoke_run.label} failed: {result.state.why}'
            console.print(text, soft_wrap=True)
