"""Train and test configs with the same seeds, and compare what they reach in one table.

Finished runs are kept and interrupted ones go on, so the same command can be given again.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mmdet_ols.checks.checkpoints import loading_rules
from mmdet_ols.cli.options import user_errors
from mmdet_ols.experiments.comparison import Comparison, Sweep, check_extras, write_comparison
from mmdet_ols.experiments.display import RunDisplay
from mmdet_ols.experiments.executor import LOG, run_all, terminating_is_interrupting
from mmdet_ols.experiments.experiment import Experiment, Method, machine, read_methods, versions


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'configs', nargs='*', metavar='CONFIG', help='the others are compared with the first'
    )
    parser.add_argument(
        '--variant',
        nargs='+',
        action='append',
        default=[],
        metavar=('NAME CONFIG', 'KEY=VALUE'),
        help='a config with entries of its own, under a name of its own; after the CONFIGs; as in '
        '--variant mean configs/a.py model.bbox_head.loss_cls.sigmoid_reading=mean',
    )
    parser.add_argument(
        '--sweep',
        nargs='+',
        metavar=('KEY', 'VALUE'),
        help='train the last config with each of these values, and draw what it reaches over them; '
        'as in hard.py ols.py --sweep model.head.loss.alpha 0.1 0.3 0.5',
    )
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2], help='(0 1 2)')
    parser.add_argument('--jobs', type=int, default=1, help='how many runs at once (1)')
    parser.add_argument(
        '--work-dir',
        help="where all goes (compare_NAME_NAME..., beside the first config's own work_dir)",
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        help='override entries of all configs',
    )
    parser.add_argument(
        '--allow',
        nargs='+',
        default=[],
        metavar='KEY',
        help='entries in which the configs may differ beside their losses, as in model.backbone',
    )
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    parser.add_argument('--tta', action='store_true', help='test with test-time augmentation')
    parser.add_argument('--metric', help="the logged metric to put first (the hosts' main one)")
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='load checkpoints that hold more than data; they can run code on this machine',
    )
    args = parser.parse_args()
    if args.jobs < 1:
        parser.error(f'--jobs must be at least 1, but got {args.jobs}')
    if len(set(args.seeds)) < len(args.seeds):
        parser.error(f'--seeds must differ from each other, but got {args.seeds}')
    if not args.configs and not args.variant:
        parser.error('name at least one CONFIG or --variant')
    if any(len(words) < 2 for words in args.variant):
        parser.error('--variant takes NAME CONFIG [KEY=VALUE ...]')
    if args.sweep and len(args.sweep) < 2:
        parser.error(f'--sweep takes KEY VALUE [VALUE ...], but got {args.sweep}')
    return args


def asked_methods(
    args: argparse.Namespace,
) -> tuple[list[tuple[str, str, list[str]]], Sweep | None]:
    """Name, path and options of each method that a command line asks for, and what it sweeps."""
    asked = [(Path(path).stem, path, args.cfg_options) for path in args.configs]
    asked += [(name, path, [*args.cfg_options, *own]) for name, path, *own in args.variant]
    if not args.sweep:
        return asked, None
    key, *values = args.sweep
    name, path, options = asked.pop()
    names = {f'{key.rpartition(".")[2]}={value}': value for value in values}
    asked += [(own, path, [*options, f'{key}={value}']) for own, value in names.items()]
    return asked, Sweep(name, key, names)


def main() -> None:
    args = parse_args()
    try:
        with terminating_is_interrupting():
            compare(args)
    except KeyboardInterrupt:
        print('Interrupted: all runs are stopped. The same command goes on.', file=sys.stderr)
        sys.exit(130)


def compare(args: argparse.Namespace) -> None:
    """Check, run and compare."""
    with user_errors(), loading_rules(args.trust_checkpoint):
        check_extras()
        asked, sweep = asked_methods(args)
        methods = read_methods(asked, args.amp, args.trust_checkpoint)
        name = f'compare_{"_".join(method.name for method in methods)}'[:120]
        # Configs that say where their runs go choose the folder by network and data.
        beside = methods[0].cfg.get('work_dir') or Path('work_dirs', name)
        work_dir = Path(args.work_dir or Path(beside).with_name(name))
        experiment = Experiment(
            methods,
            args.seeds,
            work_dir,
            Path(__file__).resolve().parent,
            args.allow,
            args.tta,
            args.metric,
            train_options=['--amp'] * args.amp,
            common_options=['--trust-checkpoint'] * args.trust_checkpoint,
            sweep=sweep,
        )
        experiment.check()
    how = {
        'seeds': ' '.join(map(str, args.seeds)),
        'test': 'with test-time augmentation' if args.tta else 'plain',
    }
    display = RunDisplay(experiment, args.jobs)

    def report(event: str, folder: Path, text: str) -> None:
        display.report(event, folder, text)
        try:
            if event == 'started':
                experiment.record(folder, facts(args.jobs, methods))
            elif event == 'finished':  # so that nothing is lost
                write_comparison(experiment.comparison({}), work_dir, how)
        except OSError as error:  # a full disk, say: no reason to stop the others
            display.console.print(f'warning: {error}', markup=False, soft_wrap=True)

    with display:
        failed = run_all(display.open, experiment.next_command, args.jobs, report)
    comparison = experiment.comparison(failed)
    if comparison.keys:
        show(comparison, display.console)
        with user_errors():
            write_comparison(comparison, work_dir, how)
        print(f'Written: {work_dir / "comparison.md"}, with tables as CSV and pictures beside it')
    if failed:
        logs = ', '.join(str(folder / LOG) for folder in failed)
        sys.exit(f'error: {len(failed)} of {len(experiment.runs)} runs failed, see {logs}')


def facts(jobs: int, methods: Sequence[Method]) -> dict[str, str]:
    """What a run of these minutes is made with."""
    # Those that the configs ask for, and that are set.
    variables = {k: v for method in methods for k, v in method.cfg.env_variables.items()}
    before = ''.join(f'{name}={shlex.quote(variables[name])} ' for name in sorted(variables))
    return {
        'command': f'`{before}python {shlex.join(sys.argv)}`',
        'machine': machine(),
        'runs at once': f'{jobs}' + ' (times are of runs that share it)' * (jobs > 1),
        'versions': versions(),
        'date': date.today().isoformat(),
    }


def show(comparison: Comparison, console: Console) -> None:
    """Print the tables and their notes."""
    overview = [comparison.overview()] if len(comparison.metrics) > 1 else []
    for header, rows in (*overview, comparison.table(), comparison.class_table()):
        if rows:
            table = Table(*header)
            for row in rows:
                table.add_row(*row)
            console.print(table)
    for note in comparison.notes():
        console.print(note, markup=False)


if __name__ == '__main__':
    main()
