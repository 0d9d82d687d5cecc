"""Make the paper's tables: plan their runs, run them, see how far they are, write the page.

The same command can be given again: what is finished is kept, what was interrupted goes on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from mmdet_ols.checks.checkpoints import loading_rules
from mmdet_ols.cli import reproduce_smoke
from mmdet_ols.cli.execution import (
    end_unless_finished,
    ending_on_interrupt,
    recording,
    run_or_watch,
)
from mmdet_ols.cli.executor_options import runs_at_once, slurm_folder
from mmdet_ols.cli.options import escape_unprintable, user_errors
from mmdet_ols.cli.reproduce_options import parse_args, read_request
from mmdet_ols.experiments.display import RunDisplay, make_console
from mmdet_ols.experiments.executors import Executor
from mmdet_ols.experiments.starter import starter_of
from mmdet_ols.experiments.states import State
from mmdet_ols.experiments.tables import duration
from mmdet_ols.experiments.writing import check_extras, write_comparison
from mmdet_ols.reproduction.features import FIGURE, picture_task
from mmdet_ols.reproduction.page import write_page
from mmdet_ols.reproduction.plan import Plan
from mmdet_ols.reproduction.request import PaperRequest
from mmdet_ols.reproduction.results import cell_results
from mmdet_ols.reproduction.scales import SMOKE
from mmdet_ols.reproduction.times import RunTimes


def main() -> None:
    escape_unprintable()
    args = parse_args(__doc__)
    with ending_on_interrupt():
        _COMMANDS[args.command](args)


def plan(args: argparse.Namespace) -> None:
    """Show what would run."""
    with user_errors():
        request, work_dir = read_request(args)
        steps = request.read_step_times()
        if request.scale == SMOKE:
            reproduce_smoke.show(request, work_dir)
            return request.save(work_dir)
        planned = request.plan(work_dir, progress=_progress)
        request.save(work_dir)  # once it is known that it can be planned
        if args.check:
            planned.check(args.strict)
    console, times = make_console(), RunTimes(planned, steps)
    _show(times, _states(times), console)
    _show_blocked(planned, console, args.check)
    runs, cells = len(planned.folders), len(planned.cells)
    console.print(
        f'{cells} cells need {runs} runs, each once. To run them: '
        f'mmdet-ols reproduce run --work-dir {work_dir}',
        soft_wrap=True,
    )
    if args.check:
        _end_if_blocked(planned)


def run(args: argparse.Namespace) -> None:
    """Run what is not finished."""
    with user_errors(), loading_rules(args.trust_checkpoint):
        check_extras()
        request, work_dir = read_request(args)
        steps = request.read_step_times()
        if request.scale == SMOKE:
            return reproduce_smoke.run(request, work_dir, args)
        planned = request.plan(work_dir, args.trust_checkpoint, _progress)
        request.save(work_dir)
        checked = starter_of(work_dir) is None
        if checked:
            planned.check(args.strict)
        tasks = planned.tasks()
    display = RunDisplay(planned, runs_at_once(args))
    _show_blocked(planned, display.console, checked)
    with user_errors():
        for folder, known in display.runs.items():
            if known.final:  # it may have finished while no process watched
                display.warn(planned.keep(folder))

    def write(folder: Path) -> None:
        write_comparison(planned.experiment(folder).comparison({}), folder.parents[1], {})

    report = recording(args, display, planned.experiment, write, {})

    def draw(executor: Executor) -> Mapping[Path, str]:
        return _draw_features(planned, work_dir, executor, display)

    outcome = run_or_watch(args, work_dir, tasks, display, report, {}, draw)
    times = RunTimes(planned, steps)
    _show(times, _states(times), display.console)
    with user_errors():
        _write(request, work_dir, planned)
    end_unless_finished(outcome, len(planned.folders))
    _end_if_blocked(planned)


def _draw_features(
    planned: Plan, work_dir: Path, executor: Executor, display: RunDisplay
) -> Mapping[Path, str]:
    """Draw the picture of Fig. 3, if its networks are there; return what went wrong."""

    def report(event: str, folder: Path, text: str) -> None:
        if event != 'running':
            display.say(f'{FIGURE} {event}: {text or folder}')

    task = picture_task(cell_results(planned), work_dir)
    return {} if task is None else executor.run([task], report)


def status(args: argparse.Namespace) -> None:
    """Show how far the runs are."""
    with user_errors():
        request, work_dir = read_request(args)
        steps = request.read_step_times()
        if request.scale == SMOKE:
            return reproduce_smoke.show(request, work_dir)
        planned = request.plan(work_dir, progress=_progress, read_only=True)
    console, times = make_console(), RunTimes(planned, steps)
    states = _states(times)
    _show(times, states, console)
    starter = starter_of(work_dir)
    text = f'started by {starter}' if starter else 'no process starts runs now'
    if starter is None and slurm_folder(work_dir).is_dir():
        text += '; what was submitted to a cluster goes on without one'
    console.print(text, soft_wrap=True)
    for folder, state in states.items():
        if state.name == 'running':
            run = times.runs[folder]
            console.print(f'{planned.label(folder)} at {run.done:g} of {run.length}')
        elif state.name == 'failed':
            why = state.why if args.failures else state.why.strip().splitlines()[-1]
            console.print(f'{planned.label(folder)} failed: {why}', soft_wrap=True)
    _show_blocked(planned, console, False)


def page(args: argparse.Namespace) -> None:
    """Write the page from what is finished."""
    with user_errors():
        request, work_dir = read_request(args)
        if request.scale == SMOKE:
            return reproduce_smoke.page(request, work_dir)
        _write(request, work_dir)


def _write(request: PaperRequest, work_dir: Path, planned: Plan | None = None) -> None:
    """Write the page of all tables, since others may have been asked for before.

    Args:
        request: What was asked for.
        work_dir: Where it goes.
        planned: Its plan, if it is there already: reading all configs takes seconds.
    """
    if planned is None or request.tables:
        planned = replace(request, tables=()).plan(work_dir, progress=_progress)
    how = {'seeds': ' '.join(map(str, request.seeds))}
    if request.choices:
        how['choices'] = ' '.join(f'{name}={value}' for name, value in request.choices.items())
    page, *others = write_page(cell_results(planned), work_dir, request.scale, how)
    print(f'Written: {page}, and {" and ".join(path.name for path in others)} next to it')


_COMMANDS = {'plan': plan, 'run': run, 'status': status, 'page': page}


def _progress(groups: list) -> Iterable:
    return track(groups, 'reading configs', console=Console(stderr=True), transient=True)


def _states(times: RunTimes) -> dict[Path, State]:
    """Where each run stands."""
    return {folder: times.plan.state(folder, run) for folder, run in times.runs.items()}


def _show(times: RunTimes, states: Mapping[Path, State], console: Console) -> None:
    """Print how many runs each table needs, how far they are, and how long is left."""
    planned, steps = times.plan, times.steps
    table = Table('table', 'cells', 'runs', 'finished', 'running', 'failed', 'waiting', 'time left')
    names = list(dict.fromkeys(cell.cell.table for cell in planned.cells))
    for name in names:
        here = [cell for cell in planned.cells if cell.cell.table == name]
        folders = {folder for cell in here for folder in planned.folders_of(cell).values()}
        table.add_row(name, str(len(here)), *_counts(folders, states, times))
    if len(names) > 1:
        table.add_section()
        table.add_row('all', str(len(planned.cells)), *_counts(planned.folders, states, times))
    console.print(table)
    seconds, runs = times.total_by_steps()
    if steps is not None and runs:
        console.print(
            f'{seconds / 3600:,.0f} hours of {steps.place} are for {runs} runs that have not '
            f'begun, by measured times of training steps (medians of {steps.n} or more). Loading '
            'data and testing are not in them.',
            soft_wrap=True,
        )


def _counts(folders: Collection[Path], states: Mapping[Path, State], times: RunTimes) -> list[str]:
    """How many runs there are in each state, and how long they have before them."""
    names = [states[folder].name for folder in folders]
    counts = [names.count(state) for state in ('finished', 'running', 'failed', 'waiting')]
    seconds, unknown = times.total_left(folders)
    known = [duration(seconds)] if unknown < len(folders) else []
    unknown_too = [f'{unknown} not known'] if unknown else []
    return [str(len(folders)), *map(str, counts), ' + '.join(known + unknown_too)]


def _end_if_blocked(planned: Plan) -> None:
    if planned.blocked:
        count = f'{len(planned.blocked)} of {len(planned.experiments)}'
        sys.exit(f'error: {count} configs cannot be run, as said above')


def _show_blocked(planned: Plan, console: Console, checked: bool) -> None:
    """Print what cannot be run, and how to find out whether that still holds.

    Args:
        planned: Whose configs to show.
        console: Where to print.
        checked: Whether they were checked just now.
    """
    blocked = planned.blocked
    for name, why in blocked.items():
        console.print(f'cannot be run: {name}: {why}', soft_wrap=True)
    if blocked and not checked:
        console.print(
            'That is what the last check found. To check again: '
            f'mmdet-ols reproduce plan --check --work-dir {planned.work_dir}',
            soft_wrap=True,
        )


if __name__ == '__main__':
    main()
