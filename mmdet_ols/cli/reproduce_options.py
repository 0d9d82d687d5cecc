"""The options of `reproduce`: what is asked for now, on top of what was asked for before."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmdet_ols.cli.executor_options import add_executor_options, check_executor
from mmdet_ols.cli.options import (
    add_seeds_option,
    add_strict_option,
    add_trust_option,
    check_seeds,
)
from mmdet_ols.reproduction.request import FILE, PaperRequest, load_request
from mmdet_ols.reproduction.scales import PAPER, SCALES, SMOKE, default_work_dir


def parse_args(description: str | None) -> argparse.Namespace:
    """Read the command line.

    Args:
        description: Of the tool.
    """
    parser = argparse.ArgumentParser(description=description)
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    plan = commands.add_parser('plan', help='show what would run, how long, and what is finished')
    run = commands.add_parser('run', help='run what is not finished, and write the page')
    status = commands.add_parser('status', help='show how far the runs are')
    page = commands.add_parser('page', help='write the page from what is finished')
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
    if args.command == 'plan' and args.strict and not args.check:
        plan.error('--strict is about what --check finds: add --check')
    check_seeds(parser, args.seeds or ())
    return args


def _add_request(parser: argparse.ArgumentParser) -> None:
    """Add what is to be made."""
    parser.epilog = (
        'What is left out is as it was asked for in the work directory before; in parentheses: '
        'what it is the first time.'
    )
    parser.add_argument(
        '--scale',
        choices=(*SCALES, SMOKE),
        help='as published, reduced for a CPU, or a few steps on made data (paper)',
    )
    parser.add_argument(
        '--each-kind',
        action='store_true',
        default=None,
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
    add_seeds_option(parser)
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


def read_request(args: argparse.Namespace) -> tuple[PaperRequest, Path]:
    """Put together what was asked for now and before, and say where it goes.

    Raises:
        ValueError: Something that was asked for is not there.
        OSError: A file cannot be read or written.
    """
    work_dir = args.work_dir or default_work_dir(args.scale or PAPER)
    if work_dir.exists() and not work_dir.is_dir():
        raise ValueError(f'--work-dir must be a folder, but {work_dir} is a file.')
    if args.command in ('status', 'page') and not (work_dir / FILE).is_file():
        raise ValueError(
            '--work-dir must be a folder in which something was planned or run, but '
            f'{work_dir} is none: name that of `plan` or `run`, or their --scale.'
        )
    forget = getattr(args, 'forget', False)
    before = (None if forget else load_request(work_dir)) or PaperRequest(args.scale or PAPER)
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
    if scale != SMOKE:
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
