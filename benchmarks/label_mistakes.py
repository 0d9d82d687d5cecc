#!/usr/bin/env python
"""Measure how well labelling mistakes are found, next to cleanlab and against the truth.

    python benchmarks/label_mistakes.py configs/cifar10/resnet18_aggregate_cifar10n.py \
        --methods hard ls ols --record docs/evidence/label_mistakes.csv
    python benchmarks/label_mistakes.py configs/yolo_ols_demo.py --data-root data/demo_wrong \
        --methods hard ols --record docs/evidence/label_mistakes.csv

For each method a network is trained once and looks at the annotations that it was trained on
('in-sample'). For the methods of `--cross-validate`, networks are also trained on all parts of the
data but one, and look at that one ('4-fold'), which is what cleanlab recommends and what costs four
trainings. From the scores of both, the annotations are ranked in several ways:

- `report` is the list of `tools/report.py`.
- `self_confidence`, `normalized_margin` and `confidence_weighted_entropy` are cleanlab's scores of
  label quality, and `find_label_issues` is its list. Of boxes they see the scores that the report
  sees: the best one of each class among the detections that match.
- `objectlab` is cleanlab's ranking of annotated boxes by swapped classes, and of images by any
  mistake. It asks for scores above 0.95; `objectlab_0.5` counts scores from 0.5 on as confident.

The truth is what the data set knows (`LabelFileDataset` with `clean`, as for CIFAR-10N), and for
boxes the file that `tools/make_demo_data.py --wrong-labels 0.05` writes.

Runs lie in `WORK_DIR/METHOD/seed_N`, as those of `tools/compare.py`, and are shared with it. Those
of folds lie in `WORK_DIR/METHOD_fold_K_of_N/seed_N`. Finished runs and recorded rows are kept, so
the same command goes on after an interruption. cleanlab is not among the project's dependencies:
requirements/mistakes.txt says how to install it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mistake_rankings import CLEANLAB, OF_BOXES, OF_IMAGES, examine, joined, measures
from mmengine.config import Config
from rich.table import Table

from mmdet_ols.analysis.annotations import read_annotations
from mmdet_ols.checks.checkpoints import loading_rules
from mmdet_ols.cli.execution import ending_on_interrupt
from mmdet_ols.cli.options import add_config_options, user_errors
from mmdet_ols.config_tree import imported_modules, type_name
from mmdet_ols.datasets.tree import GIVING_ALL, NOISY, RELABELLING, inner_datasets, map_datasets
from mmdet_ols.engine.run_config import read_config
from mmdet_ols.experiments.display import RunDisplay, make_console
from mmdet_ols.experiments.evidence import MISTAKES, EvidenceFile, EvidenceRow
from mmdet_ols.experiments.executors.local import LocalExecutor
from mmdet_ols.experiments.experiment import Experiment
from mmdet_ols.experiments.identity import portable_config, portable_options
from mmdet_ols.experiments.provenance import facts, read_records
from mmdet_ols.experiments.recording import BestEpoch, describe_run
from mmdet_ols.experiments.settings import settings_key
from mmdet_ols.experiments.specification import Request, Variant, read_variants
from mmdet_ols.experiments.states import LOG
from mmdet_ols.methods import parse_method

#: The parts of the data are the same for all seeds and methods.
SEED_OF_FOLDS = 0


def parse_args(words: Sequence[str] | None = None) -> argparse.Namespace:
    first, _, rest = str(__doc__).partition('\n')
    parser = argparse.ArgumentParser(
        description=first, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', metavar='CONFIG')
    parser.add_argument('--methods', nargs='+', default=['hard', 'ls', 'ols'], metavar='METHOD')
    parser.add_argument(
        '--cross-validate', nargs='*', default=['hard'], metavar='METHOD', help='(hard)'
    )
    parser.add_argument('--folds', type=int, default=4, help='(4)')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2], help='(0 1 2)')
    parser.add_argument(
        '--rankings', nargs='+', choices=[*dict.fromkeys([*OF_IMAGES, *OF_BOXES])], help='(all)'
    )
    parser.add_argument('--truth', type=Path, metavar='FILE', help='wrong labels of boxes')
    parser.add_argument('--record', required=True, metavar='FILE.csv', help='a row for each result')
    parser.add_argument('--work-dir', type=Path, help='(work_dirs/mistakes_CONFIG)')
    parser.add_argument('--jobs', type=int, default=1, help='how many runs at once (1)')
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    add_config_options(parser, parsed=False)
    args = parser.parse_args(words)
    if args.folds < 2:
        parser.error(f'--folds must be at least 2, but got {args.folds}')
    if args.jobs < 1:
        parser.error(f'--jobs must be at least 1, but got {args.jobs}')
    args.work_dir = args.work_dir or Path('work_dirs', f'mistakes_{Path(args.config).stem}')
    return args


# --- what is trained ------------------------------------------------------------------------------


def fold_config(cfg: Config, fold: int, folds: int, held_out: bool = False) -> Config:
    """A config that trains on all parts of the data but one.

    Args:
        cfg: Config that trains on all; it stays as it is.
        fold: Number of the part, from 0.
        folds: How many parts there are.
        held_out: Whether to give that part instead of the others.

    Raises:
        ValueError: A part of the data would have other wrong labels, or other samples.
    """

    def change(node: Any) -> Any:
        if type_name(node) == NOISY and node.get('rate'):
            raise ValueError(
                f'The wrong labels must be the same in every part of the data, but {NOISY} draws '
                'them for the samples that it gets: write them into a file for LabelFileDataset.'
            )
        if type_name(node) in RELABELLING and type_name(node) != NOISY:
            node['whole'] = False
        if inner_datasets(node):
            if type_name(node) not in (*GIVING_ALL, *RELABELLING):
                raise ValueError(
                    f'{type_name(node)} would select other samples in every part of the data: use '
                    'a config that trains on all of them.'
                )
            return node
        part = dict(num_splits=folds, fold=fold, seed=SEED_OF_FOLDS, test_mode=held_out)
        return dict(type='mmpretrain.KFoldDataset', dataset=node, **part)

    cfg = deepcopy(cfg)
    cfg.train_dataloader.dataset = map_datasets(cfg.train_dataloader.dataset, change)
    imports = [*dict.fromkeys([*imported_modules(cfg), 'mmpretrain.datasets'])]
    cfg.custom_imports = dict(cfg.get('custom_imports') or {}, imports=imports)
    return cfg


@dataclass
class Unit:
    """Networks that look at every annotation once: one, or one for each part of the data.

    Args:
        method: As for `--method`.
        folds: Number of parts; 0 is one network that was trained on all.
        variants: What is trained.
        data: Configs of the data that each network looks at.
        base: Key of the config with every method undone.
    """

    method: str
    folds: int
    variants: list[Variant]
    data: list[Config]
    base: str

    def name(self, ranking: str) -> str:
        """Of its row in a table."""
        how = f'{self.folds}-fold' if self.folds else 'in-sample'
        return f'{parse_method(self.method).slug}, {how}, {ranking}'

    def key(self, ranking: str) -> str:
        """Of everything that decides the result, the seed excepted."""
        trained = [variant.portable_key for variant in self.variants]
        return settings_key({'trained': trained, 'ranking': ranking})


def plan(args: argparse.Namespace) -> list[Unit]:
    """Resolve what a command line asks for, and write the configs of the folds.

    Raises:
        ValueError: Something cannot be used.
    """
    options = tuple(args.cfg_options)

    def variants(config: str, name: str, methods: Sequence[str], own: tuple = ()) -> list[Variant]:
        rows = [Request(f'{parse_method(m).slug}{name}', config, m, own) for m in methods]
        return read_variants(rows, args.data_root, args.amp)

    whole = variants(args.config, '', args.methods, options)
    units = [Unit(v.request.method or '', 0, [v], [v.cfg], v.portable_base) for v in whole]
    if not args.cross_validate:
        return units
    plain = read_config(args.config, options=options, data_root=args.data_root)
    parts: dict[str, list[Variant]] = {method: [] for method in args.cross_validate}
    for fold in range(args.folds):
        path = args.work_dir / 'configs' / f'fold_{fold}_of_{args.folds}.py'
        path.parent.mkdir(parents=True, exist_ok=True)
        fold_config(plain, fold, args.folds).dump(path)
        name = f'_fold_{fold}_of_{args.folds}'
        for variant in variants(str(path), name, args.cross_validate):
            parts[variant.request.method or ''].append(variant)
    data = [fold_config(plain, fold, args.folds, held_out=True) for fold in range(args.folds)]
    for method, trained in parts.items():
        # The network of each fold, with the part of the data that it has not seen.
        views = [deepcopy(variant.cfg) for variant in trained]
        for view, held_out in zip(views, data):
            view.train_dataloader = held_out.train_dataloader
        units.append(Unit(method, args.folds, trained, views, whole[0].portable_base))
    return units


# --- what they reach ------------------------------------------------------------------------------


def train(experiment: Experiment, jobs: int) -> None:
    """Train what is not finished yet.

    Raises:
        ValueError: A run failed.
    """
    display = RunDisplay(experiment, jobs)

    def say(event: str, folder: Path, text: str) -> None:
        display.report(event, folder, text)
        if event == 'started':
            experiment.record(folder, facts(['python', *sys.argv], jobs, {}))

    with display:
        failed = LocalExecutor(jobs).run(experiment.open_tasks, say)
    if failed:
        raise ValueError(f'{len(failed)} runs failed: see {LOG} in {", ".join(map(str, failed))}.')


def evaluate(
    unit: Unit, experiment: Experiment, seed: int, rankings: Sequence[str], args: argparse.Namespace
) -> list[EvidenceRow]:
    """Rank the annotations, and describe each ranking as a row."""
    named = {variant.name: folder for folder, (variant, _) in experiment.runs.items()}
    folders = [named[variant.name] for variant in unit.variants]
    runs = [experiment.read(folder) for folder in folders]
    parts = []
    for cfg, run in zip(unit.data, runs):
        assert run.last_checkpoint is not None
        parts.append(examine(cfg, run.last_checkpoint, args.truth))
    seen = joined(parts)
    known = OF_IMAGES if seen.boxes is None else OF_BOXES
    records = [record for folder in folders for record in read_records(folder)]
    spec = experiment.runs[folders[0]][1]
    made = describe_run(unit.variants[0], spec, runs[0], False, records, BestEpoch())
    how = [f'{unit.folds}-fold'] if unit.folds else []
    return [
        replace(
            made,
            settings=unit.key(name),
            base=unit.base,
            name=unit.name(name),
            config=portable_config(args.config),
            options=portable_options([*args.cfg_options, *(['amp'] if args.amp else []), *how]),
            test=MISTAKES,
            seconds=round(sum(run.seconds for run in runs)),
            metrics=measures(known[name](seen), seen),
        )
        for name in rankings
    ]


def show(rows: Sequence[EvidenceRow]) -> None:
    """Print what the rankings reach, in per cent."""
    keys = list(dict.fromkeys(key for row in rows for key in row.metrics))
    table = Table('ranking', 'seed', *(key.partition('/')[2].replace('_', ' ') for key in keys))
    for row in rows:
        values = [f'{100 * row.metrics[k]:.1f}' if k in row.metrics else '' for k in keys]
        table.add_row(row.name, str(row.seed), *values)
    make_console().print(table)


def run(args: argparse.Namespace) -> None:
    """Train, rank and record, seed by seed.

    Raises:
        ValueError: Something cannot be used, or a run failed.
    """
    evidence, units = EvidenceFile(args.record), plan(args)
    boxes = read_annotations(units[0].variants[0].cfg, max_images=1)[0].box is not None
    known = OF_BOXES if boxes else OF_IMAGES
    rankings = [name for name in known if name in (args.rankings or known)]
    if set(rankings) - {'report'} and find_spec('cleanlab') is None:
        raise ValueError(CLEANLAB)
    checked = False
    for seed in args.seeds:
        asked = {
            unit.name(''): [(unit.key(name), seed, MISTAKES) for name in rankings] for unit in units
        }
        still = [u for u in units if any(evidence.row(i) is None for i in asked[u.name('')])]
        if still:
            variants = [variant for unit in still for variant in unit.variants]
            allowed = ['train_dataloader'] if len(variants) > 1 else []
            experiment = Experiment(variants, [seed], args.work_dir, allowed)
            if not checked:  # all seeds have the same configs
                experiment.check()
                checked = True
            train(experiment, args.jobs)
            for unit in still:
                for row in evaluate(unit, experiment, seed, rankings, args):
                    evidence.add(row)
        rows = [evidence.row(identity) for unit in units for identity in asked[unit.name('')]]
        show([row for row in rows if row is not None])


def main(words: Sequence[str] | None = None) -> None:
    args = parse_args(words)
    with ending_on_interrupt(), user_errors(), loading_rules(False):
        run(args)


if __name__ == '__main__':
    main()
