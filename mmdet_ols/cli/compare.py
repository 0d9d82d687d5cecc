"""Train and test methods or configs with the same seeds, and compare them in one table.

Finished runs are kept and interrupted ones resumed, so the same command can be given again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mmdet_ols.checks.checkpoints import loading_rules
from mmdet_ols.cli.execution import (
    end_unless_finished,
    ending_on_interrupt,
    recording,
    run_or_watch,
)
from mmdet_ols.cli.executor_options import add_executor_options, check_executor, runs_at_once
from mmdet_ols.cli.options import (
    add_config_options,
    add_seeds_option,
    add_strict_option,
    add_trust_option,
    check_seeds,
    escape_unprintable,
    user_errors,
)
from mmdet_ols.experiments.comparison import Comparison
from mmdet_ols.experiments.display import RunDisplay
from mmdet_ols.experiments.evidence import EvidenceFile
from mmdet_ols.experiments.experiment import Experiment
from mmdet_ols.experiments.requested_rows import requested_rows, with_needed_rows
from mmdet_ols.experiments.specification import Variant, read_variants
from mmdet_ols.experiments.tables import class_table, main_table, notes, overview
from mmdet_ols.experiments.writing import check_extras, write_comparison


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    _add_rows(parser)
    add_seeds_option(parser)
    add_executor_options(parser)
    parser.add_argument(
        '--work-dir',
        help="where everything goes (compare_..., next to the first config's work_dir)",
    )
    parser.add_argument(
        '--allow',
        nargs='+',
        action='extend',
        default=[],
        metavar='KEY',
        help='config entries in which the rows may differ besides their methods, as in '
        'model.backbone',
    )
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    parser.add_argument('--tta', action='store_true', help='test with test-time augmentation')
    parser.add_argument(
        '--record',
        metavar='FILE.csv',
        help='add a row for each finished run to this file; runs that have one count as finished',
    )
    parser.add_argument('--metric', help="the logged metric to put first (the hosts' main one)")
    direction = parser.add_mutually_exclusive_group()
    direction.add_argument(
        '--lower-is-better',
        action='store_true',
        default=None,
        help='of --metric, where nothing describes it',
    )
    direction.add_argument(
        '--higher-is-better', action='store_false', dest='lower_is_better', default=None
    )
    add_strict_option(parser)
    add_trust_option(parser)
    args = parser.parse_args()
    args.seeds = [0, 1, 2] if args.seeds is None else args.seeds
    _check(parser, args)
    return args


def _add_rows(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'configs', nargs='*', metavar='CONFIG', help='the others are compared with the first'
    )
    parser.add_argument(
        '--methods',
        nargs='+',
        action='extend',
        default=[],
        metavar='METHOD',
        help='train each config with each of these methods, as in hard ls ols:alpha=0.3; without '
        'it the configs are trained as they are',
    )
    parser.add_argument(
        '--variant',
        nargs='+',
        action='append',
        default=[],
        metavar=('NAME CONFIG', 'KEY=VALUE'),
        help='a config with some entries changed, under another name; after the CONFIGs; as in '
        '--variant mean configs/a.py model.bbox_head.loss_cls.sigmoid_reading=mean',
    )
    parser.add_argument(
        '--sweep',
        nargs='+',
        default=[],
        metavar=('OPTION', 'VALUE'),
        help='train a method, or the last config, with each of these values, and draw what it '
        'reaches over them; as in --methods hard ols --sweep ols:alpha 0.1 0.3 0.5, or hard.py '
        'ols.py --sweep model.head.loss.alpha 0.1 0.3 0.5',
    )
    add_config_options(parser, parsed=False)  # of all rows


def _check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    check_executor(parser, args)
    check_seeds(parser, args.seeds)
    if not args.configs and not args.variant:
        parser.error('name at least one CONFIG, in front of the options, or --variant')
    if args.methods and not args.configs:
        parser.error('--methods needs a CONFIG to apply the methods to')
    if any(len(words) < 2 for words in args.variant):
        parser.error('--variant takes NAME CONFIG [KEY=VALUE ...]')
    if len(args.sweep) == 1:
        parser.error(f'--sweep takes OPTION VALUE [VALUE ...], but got {args.sweep}')
    if args.lower_is_better is not None and not args.metric:
        parser.error('--lower-is-better and --higher-is-better describe a --metric: name it')


def main() -> None:
    escape_unprintable()
    args = parse_args()
    with ending_on_interrupt():
        compare(args)


def compare(args: argparse.Namespace) -> None:
    """Check, run and compare."""
    with user_errors(), loading_rules(args.trust_checkpoint):
        experiment, work_dir = plan(args)
        experiment.check(args.strict)
    how = {
        'seeds': ' '.join(map(str, args.seeds)),
        'test': 'with test-time augmentation' if args.tta else 'plain',
    }
    display = RunDisplay(experiment, runs_at_once(args))
    # Those that the configs ask for, and that are set.
    variables = {k: v for row in experiment.variants for k, v in row.cfg.env_variables.items()}
    report = recording(
        args,
        display,
        lambda folder: experiment,
        lambda folder: write_comparison(experiment.comparison({}), work_dir, how),
        variables,
    )
    with user_errors():
        for folder in experiment.folders:  # those that were finished before
            display.warn(experiment.keep(folder))
        work_dir.mkdir(parents=True, exist_ok=True)
    tasks = experiment.open_tasks
    outcome = run_or_watch(args, work_dir, tasks, display, report, variables)
    comparison = experiment.comparison(outcome.failed)
    if comparison.keys:
        show(comparison, display.console)
        with user_errors():
            write_comparison(comparison, work_dir, how)
        print(f'Written: {work_dir / "comparison.md"}, with tables as CSV and pictures next to it')
    with user_errors():
        for task in tasks:  # the process that ran them may have recorded them elsewhere, or nowhere
            if experiment.row(task.folder) is None:
                display.warn(experiment.keep(task.folder))
    end_unless_finished(outcome, len(experiment.runs))


def plan(args: argparse.Namespace) -> tuple[Experiment, Path]:
    """Resolve what a command line asks for, and say where it goes.

    Raises:
        ValueError: Something cannot be used, or cannot be compared.
        ImportError: The result could not be written.
    """
    check_extras()
    rows, sweep = requested_rows(
        args.configs, args.methods, args.variant, args.cfg_options, args.sweep
    )
    variants = read_variants(with_needed_rows(rows), args.data_root, args.amp)
    work_dir = Path(args.work_dir or _default_work_dir(args, variants))
    experiment = Experiment(
        variants,
        args.seeds,
        work_dir,
        allowed=args.allow,
        tta=args.tta,
        metric=args.metric,
        lower_is_better=args.lower_is_better,
        trust=args.trust_checkpoint,
        sweep=sweep,
        evidence=EvidenceFile(args.record) if args.record else None,
    )
    return experiment, work_dir


def _default_work_dir(args: argparse.Namespace, variants: list[Variant]) -> Path:
    """Next to where the first config would go by itself."""
    names = [variant.name for variant in variants]
    if args.methods and len(args.configs) == 1:  # whose names do not name the config
        names.insert(0, Path(args.configs[0]).stem)
    name = f'compare_{"_".join(names)}'[:120]
    return Path(variants[0].cfg.get('work_dir') or Path('work_dirs', name)).with_name(name)


def show(comparison: Comparison, console: Console) -> None:
    """Print the tables and their notes."""
    tables = [main_table(comparison), class_table(comparison)]
    if len(comparison.metrics) > 1:
        tables.insert(0, overview(comparison))
    for header, rows in tables:
        if rows:
            table = Table(*header)
            for row in rows:
                table.add_row(*row)
            console.print(table)
    for note in notes(comparison):
        console.print(note)


if __name__ == '__main__':
    main()
