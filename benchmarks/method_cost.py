#!/usr/bin/env python
"""Compare what a training step costs with different methods: time and memory.

Each step is a whole one of MMEngine: preprocessing, forward pass, backward pass, optimizer. All
methods take turns in one process, on the same made-up images; data loading is not timed. Ratios
are those to the first method.

    python benchmarks/method_cost.py configs/cifar100/resnet34_cifar100.py
    python benchmarks/method_cost.py configs/imagenet/resnet50_imagenet.py --side 224 --batch-size 8
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from mmpretrain.structures import DataSample
from mmpretrain.utils import register_all_modules
from timing import (
    Step,
    Stopwatch,
    circumstances,
    interleave,
    keep_freed_memory,
    peak_memory,
    summary,
)

from mmdet_ols import apply_method
from mmdet_ols.config_tree import type_name
from mmdet_ols.datasets.tree import TWO_VIEWS, walk_datasets

METHODS = ('hard', 'ols', 'byot', 'byot+ols', 'ddgsd', 'tfkd_self')
MIB = 2**20


def parse_args(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help="path of a classifier's config")
    parser.add_argument(
        '--methods', nargs='+', default=METHODS, help=f'the first is 1 ({" ".join(METHODS)})'
    )
    parser.add_argument('--batch-size', type=int, default=128, help='images in a batch (128)')
    parser.add_argument('--side', type=int, default=32, help='pixels of an image (32)')
    parser.add_argument('--seconds', type=float, default=120, help='how long to measure (120)')
    parser.add_argument('--rounds', type=int, default=30, help='the most steps of a method (30)')
    parser.add_argument('--threads', type=int, default=1, help='of the CPU (1)')
    parser.add_argument('--device', default='cpu', help="'cpu' or 'cuda' (cpu)")
    parser.add_argument('--out', type=Path, metavar='FILE.csv', help='write the rows there, too')
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    args = parse_args(words)
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    register_all_modules(init_default_scope=False)
    base = Config.fromfile(args.config)
    with DefaultScope.overwrite_default_scope('mmpretrain'), tempfile.TemporaryDirectory() as tmp:
        steps = make_steps(base, args, Path(tmp, 'teacher.pth'))
        rows = measure(steps, args)
    print_table(rows)
    if args.out:
        with args.out.open('w', newline='') as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[-1]))
            writer.writeheader()
            writer.writerows(rows)


def make_steps(base: Config, args: argparse.Namespace, teacher: Path) -> dict[str, Step]:
    """A step of each method; teachers, whose weights do not matter here, are saved first."""
    torch.manual_seed(0)
    plain = build(apply_method(base, 'hard'), args.device)
    torch.save(plain.state_dict(), teacher)
    steps = {}
    for method in args.methods:
        cfg = apply_method(base, method)
        if 'teacher' in cfg.model:
            cfg.model.teacher = str(teacher)
        steps[method] = make_step(cfg, args)
    return steps


def build(cfg: Config, device: str) -> Any:
    model = dict(cfg.model)
    model.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    return MODELS.build(model).to(device)


def make_step(cfg: Config, args: argparse.Namespace) -> Step:
    """What runs a whole step of a config's model, and says when it began and ended."""
    model = build(cfg, args.device)
    if cfg.model.get('teacher'):
        model.load_teacher()
    model.train()
    optimizer = build_optim_wrapper(model, dict(cfg.optim_wrapper))
    batch = make_batch(cfg, args.batch_size, args.side)
    stopwatch = Stopwatch(args.device)

    def step() -> tuple[Any, ...]:
        start = stopwatch.now()
        model.train_step(batch, optimizer)
        return start, stopwatch.now()

    return step


def make_batch(cfg: Config, count: int, side: int) -> dict[str, Any]:
    """Made-up images, in two views if the config has those, packed as by MMPretrain's pipelines."""
    nodes = walk_datasets(cfg.train_dataloader.dataset)
    views = 2 if any(type_name(node) == TWO_VIEWS for node in nodes) else 1
    generator = torch.Generator().manual_seed(0)
    shape = (views * count, 3, side, side)
    images = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    labels = torch.randint(cfg.model.head.num_classes, (count,), generator=generator).tolist()
    samples = [
        DataSample(metainfo=dict(sample_idx=index % count)).set_gt_label(labels[index % count])
        for index in range(len(images))
    ]
    return dict(inputs=images, data_samples=samples)


def measure(steps: dict[str, Step], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Time all steps in turns, and count the memory of each."""
    stopwatch = Stopwatch(args.device)
    for step in steps.values():
        stopwatch.seconds(step, 2)  # which makes the optimizer's momentum
    taken = interleave(
        {name: partial(stopwatch.seconds, step, 1) for name, step in steps.items()},
        args.seconds,
        args.rounds,
        least=min(5, args.rounds),
    )
    times = {
        name: {number: parts[0] for number, parts in samples.items()}
        for name, samples in taken.items()
    }
    first = next(iter(steps))
    peaks = {name: peak_memory(step, args.device) / MIB for name, step in steps.items()}
    facts = circumstances(args.device)
    return [
        dict(
            config=args.config,
            batch_size=args.batch_size,
            side=args.side,
            method=name,
            **summary(times[name], times[first]),
            peak_mib=peaks[name],
            peak_ratio=peaks[name] / peaks[first],
            **facts,
        )
        for name in steps
    ]


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """Print what a step takes and holds, as Markdown."""
    first = rows[0]['method']
    print(f'| method | step, ms | times {first} | peak memory, MiB | times {first} |')
    print('| --- | ---: | ---: | ---: | ---: |')
    for row in rows:
        spread = f'({row["ratio_q1"]:.2f} to {row["ratio_q3"]:.2f})'
        print(
            f'| `{row["method"]}` | {row["median_us"] / 1e3:,.0f} | {row["ratio"]:.2f} {spread} | '
            f'{row["peak_mib"]:,.0f} | {row["peak_ratio"]:.2f} |'
        )
    facts = ('machine', 'torch', 'mmpretrain', 'commit', 'date')
    print(f'n = {rows[0]["n"]}; {"; ".join(str(rows[0][name]) for name in facts)}')


if __name__ == '__main__':
    main()
