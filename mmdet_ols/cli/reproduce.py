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
from mmdet_ols.cli.executor_options import add_executor_options, check_executor, runs_at_once
from mmdet_ols.cli.options import (
    add_strict_option,
    add_trust_option,
    escape_unprintable,
    user_errors,
)
from mmdet_ols.experiments.display import RunDisplay, make_console
from mmdet_ols.experiments.starter import starter_of
from mmdet_ols.experiments.tables import duration
from mmdet_ols.experiments.writing import check_extras, write_comparison
from mmdet_ols.reproduction.collecting import cell_results
from mmdet_ols.reproduction.page import write_page
from mmdet_ols.reproduction.plan import Plan
from mmdet_ols.reproduction.request import PaperRequest, load_request
from mmdet_ols.reproduction.scales import SCALES
from mmdet_ols.reproduction.step_times import StepTimes
from mmdet_ols.reproduction.times import RunTimes


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    plan = commands.add_parser('plan', help='show what would run, how long, and what is there')
    run = commands.add_parser('run', help='run what is not finished, and write the page')
    status = commands.add_parser('status', help='show how far the runs are')
    page = commands.add_parser('page', help='write the page from what is there')
    for command in (plan, run, status, page):
        _add_request(command)
        _add_changes(command)
    for command in (plan, run):
        command.add_argument(
            '--forget',
            action='store_true',
            help='ask only for what this command says, not for what was asked for before',
        )
        add_strict_option(command)
    plan.add_argument(
        '--check', action='store_true', help='also look for data, weights and errors in configs'
    )
    add_executor_options(run)
    add_trust_option(run)
    status.add_argument('--failures', action='store_true', help='show why runs failed, in full')
    args = parser.parse_args()
    if args.command == 'run':
        check_executor(run, args)
    if args.seeds and len(set(args.seeds)) < len(args.seeds):
        parser.error(f'--seeds must differ from each other, but got {args.seeds}')
    return args


def _add_request(parser: argparse.ArgumentParser) -> None:
    """Add what is to be made."""
    parser.epilog = (
        'What is left out is as it was asked for in the work directory before; in parentheses: '
        'what it is the first time.'
    )
    parser.add_argument(
        '--scale',
        choices=(*SCALES, 'smoke'),
        help='as published, what a CPU does in a night, or a few steps on made data (paper)',
    )
    parser.add_argument(
        '--each-kind',
        action='store_true',
        help='at the smoke scale: a few cells that have every table, method and kind of network',
    )
    parser.add_argument(
        '--table',
        nargs='+',
        action='extend',
        dest='tables',
        metavar='TABLE',
        help="such as II VII 'Fig. 7a' (all)",
    )
    parser.add_argument('--seeds', nargs='+', type=int, action='extend', help='(0 1 2)')
    parser.add_argument('--work-dir', type=Path, help='(work_dirs/reproduce_SCALE)')


def _add_changes(parser: argparse.ArgumentParser) -> None:
    """Add what changes the configs of the cells, and what counts as finished."""
    parser.add_argument(
        '--data',
        nargs='+',
        action='extend',
        metavar='NAME=PATH',
        help='where data lie, as in cifar100=/data/cifar imagenet=/data/imagenet',
    )
    parser.add_argument(
        '--set',
        nargs='+',
        action='append',
        dest='entries',
        metavar=('NAME', 'KEY=VALUE'),
        help='override entries of the configs of a network, of data or of one config, as in '
        '--set mobilenetv2 model.backbone.init_cfg.checkpoint=FILE',
    )
    parser.add_argument(
        '--choose',
        nargs='+',
        action='extend',
        dest='choices',
        metavar='NAME=VALUE',
        help='what to take where the paper leaves something open, as in block=basic',
    )
    parser.add_argument(
        '--evidence',
        nargs='+',
        action='extend',
        metavar='FILE.csv',
        help='rows of compare --record whose runs count as finished',
    )
    parser.add_argument(
        '--step-times',
        metavar='FILE.csv',
        help='rows of benchmarks/step_times.py, by which to say how long runs take that have not '
        'begun',
    )


def main() -> None:
    escape_unprintable()
    args = parse_args()
    with ending_on_interrupt():
        _COMMANDS[args.command](args)


def plan(args: argparse.Namespace) -> None:
    """Show what would run."""
    with user_errors():
        request, work_dir = _request(args)
        steps = request.read_step_times()
        if request.scale == 'smoke':
            reproduce_smoke.show(request, work_dir, args.each_kind)
            return request.save(work_dir)
        planned = request.plan(work_dir, progress=_progress)
        request.save(work_dir)  # once it is known that it can be planned
        if args.check:
            planned.check(args.strict)
    console = make_console()
    _show(planned, console, steps)
    _show_blocked(planned, console)
    runs, cells = len(planned.folders), len(planned.cells)
    console.print(
        f'{cells} cells need {runs} runs, each once. To run them: '
        f'mmdet-ols reproduce run --work-dir {work_dir}',
        markup=False,
        soft_wrap=True,
    )
    if args.check:
        _end_if_blocked(planned)


def run(args: argparse.Namespace) -> None:
    """Run what is not finished."""
    with user_errors(), loading_rules(args.trust_checkpoint):
        check_extras()
        request, work_dir = _request(args)
        steps = request.read_step_times()
        if request.scale == 'smoke':
            return reproduce_smoke.run(request, work_dir, args)
        planned = request.plan(work_dir, args.trust_checkpoint, _progress)
        request.save(work_dir)
        if starter_of(work_dir) is None:
            planned.check(args.strict)
        tasks = planned.tasks()
    display = RunDisplay(planned, runs_at_once(args))
    _show_blocked(planned, display.console)

    def write(folder: Path) -> None:
        write_comparison(planned.experiment(folder).comparison({}), folder.parents[1], {})

    report = recording(args, display, planned.experiment, write, {})
    outcome = run_or_watch(args, work_dir, tasks, display, report, {})
    _show(planned, display.console, steps)
    with user_errors():
        _write(request, work_dir, planned)
    end_unless_finished(outcome, len(planned.folders))
    _end_if_blocked(planned)


def status(args: argparse.Namespace) -> None:
    """Show how far the runs are."""
    with user_errors():
        request, work_dir = _request(args)
        if load_request(work_dir) is None:
            raise ValueError(
                '--work-dir must be a folder in which something was planned or run, but '
                f'{work_dir} is none: name that of `plan` or `run`, or their --scale.'
            )
        steps = request.read_step_times()
        if request.scale == 'smoke':
            return reproduce_smoke.show(request, work_dir, args.each_kind)
        planned = request.plan(work_dir, progress=_progress, read_only=True)
    console = make_console()
    _show(planned, console, steps)
    starter = starter_of(work_dir)
    text = f'started by {starter}' if starter else 'no process starts runs now'
    console.print(text, markup=False, soft_wrap=True)
    for folder in planned.folders:
        state = planned.state(folder)
        if state.name == 'running':
            run = planned.read(folder)
            console.print(f'{planned.label(folder)} at {run.done:g} of {run.length}', markup=False)
        elif state.name == 'failed':
            why = state.why if args.failures else state.why.strip().splitlines()[-1]
            console.print(f'{planned.label(folder)} failed: {why}', markup=False, soft_wrap=True)
    _show_blocked(planned, console)


def page(args: argparse.Namespace) -> None:
    """Write the page from what is there."""
    with user_errors():
        request, work_dir = _request(args)
        if request.scale == 'smoke':
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


def _request(args: argparse.Namespace) -> tuple[PaperRequest, Path]:
    """Put together what was asked for now and before, and say where it goes.

    Raises:
        ValueError: Something that was asked for is not there.
        OSError: A file cannot be read or written.
    """
    work_dir = args.work_dir or Path('work_dirs', f'reproduce_{args.scale or "paper"}')
    if work_dir.exists() and not work_dir.is_dir():
        raise ValueError(f'--work-dir must be a folder, but {work_dir} is a file.')
    forget = getattr(args, 'forget', False)
    before = (None if forget else load_request(work_dir)) or PaperRequest(args.scale or 'paper')
    if args.scale not in (None, before.scale):
        raise ValueError(
            f'--scale must be {before.scale} in {work_dir}, as it was asked for there before, but '
            f'got {args.scale}: name another --work-dir, or give `plan` or `run` --forget.'
        )
    given = dict(vars(args))
    for name, option in (('data', '--data'), ('choices', '--choose')):
        given[name] = _pairs(given[name], option)
    given['entries'] = _entries(given['entries'])
    request = before.changed(given)
    _check_scale(request.scale, args)
    return request, work_dir


def _check_scale(scale: str, args: argparse.Namespace) -> None:
    """Refuse options that a scale has no use for.

    Raises:
        ValueError: One is given.
    """
    if scale != 'smoke':
        if args.each_kind:
            raise ValueError('--each-kind is for --scale smoke: leave it out.')
        return
    options = {'seeds': '--seeds', 'data': '--data', 'entries': '--set', 'evidence': '--evidence'}
    given = [option for name, option in options.items() if getattr(args, name) is not None]
    if given:
        raise ValueError(
            'The smoke scale makes its own data and runs each cell once, with seed 0: leave '
            f'{", ".join(given)} out.'
        )


def _entries(options: list[list[str]] | None) -> dict[str, tuple[str, ...]] | None:
    """The words of each `--set NAME KEY=VALUE ...`, by name; None where there are none."""
    if options is None:
        return None
    entries: dict[str, tuple[str, ...]] = {}
    for name, *words in options:
        if not words:
            raise ValueError(f'--set takes NAME KEY=VALUE [...], but got {name}.')
        entries[name] = (*entries.get(name, ()), *words)
    return entries


def _pairs(words: list[str] | None, option: str) -> dict[str, str] | None:
    """Words NAME=VALUE as a dict; None where there are none."""
    if words is None:
        return None
    pairs = [word.partition('=') for word in words]
    wrong = [word for word, (name, _, value) in zip(words, pairs) if not name or not value]
    if wrong:
        raise ValueError(f'{option} takes NAME=VALUE, but got {", ".join(wrong)}.')
    return {name: value for name, _, value in pairs}


def _progress(groups: list) -> Iterable:
    return track(groups, 'reading configs', console=Console(stderr=True), transient=True)


def _show(planned: Plan, console: Console, steps: StepTimes | None) -> None:
    """Print how many runs each table needs, how far they are, and how long is left."""
    times = RunTimes(planned, steps)
    states = {folder: planned.state(folder).name for folder in planned.folders}
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
            markup=False,
            soft_wrap=True,
        )


def _counts(folders: Collection[Path], states: Mapping[Path, str], times: RunTimes) -> list[str]:
    """How many runs there are in each state, and how long they have before them."""
    names = [states[folder] for folder in folders]
    counts = [names.count(state) for state in ('finished', 'running', 'failed', 'waiting')]
    seconds, unknown = times.total_left(folders)
    known = [duration(seconds)] if unknown < len(folders) else []
    unknown_too = [f'{unknown} not known'] if unknown else []
    return [str(len(folders)), *map(str, counts), ' + '.join(known + unknown_too)]


def _end_if_blocked(planned: Plan) -> None:
    if planned.blocked:
        count = f'{len(planned.blocked)} of {len(planned.experiments)}'
        sys.exit(f'error: {count} configs cannot be run, as said above')


def _show_blocked(planned: Plan, console: Console) -> None:
    for name, why in planned.blocked.items():
        console.print(f'cannot be run: {name}: {why}', markup=False, soft_wrap=True)


if __name__ == '__main__':
    main()
