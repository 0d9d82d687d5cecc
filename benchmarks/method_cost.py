#!/usr/bin/env python
"""Compare what a training step costs with different methods: time and memory.

Each step is a whole one: preprocessing, forward pass, backward pass, optimizer, or what the loop of
a method does instead of that. A method with passes over all images has several kinds of steps, and
its row is their mean over the epochs of the config, passes included. All methods take turns in one
process, on the same made-up images; data loading is not timed. On one thread of a CPU it is
processor time. Ratios are those to the first method.

    python benchmarks/method_cost.py configs/cifar100/resnet34_cifar100.py
    python benchmarks/method_cost.py configs/imagenet/resnet50_imagenet.py --side 224 --batch-size 8
    python benchmarks/method_cost.py configs/cifar100/resnet56_cifar100.py --methods hard l2rw
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from made_steps import SAMPLES, build, make_step
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.utils import register_all_modules
from timing import (
    Step,
    StepClock,
    circumstances,
    interleave,
    keep_freed_memory,
    peak_memory,
    summary,
)

from mmdet_ols import apply_method
from mmdet_ols.experiments.settings import flat_settings
from mmdet_ols.reproduction.step_times import PASS, phase_epochs

#: The steps of a method's phases, each with the number of its epochs.
Phases = dict[str, tuple[Step, int]]

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


def make_steps(base: Config, args: argparse.Namespace, teacher: Path) -> dict[str, Phases]:
    """The steps of each method; teachers, whose weights do not matter here, are saved first."""
    torch.manual_seed(0)
    plain = build(apply_method(base, 'hard'), args.device)
    torch.save(plain.state_dict(), teacher)
    steps = {}
    for method in args.methods:
        cfg = apply_method(base, method)
        if 'teacher' in cfg.model:
            cfg.model.teacher = str(teacher)
        epochs = phase_epochs(flat_settings(cfg), cfg.train_cfg.max_epochs)
        steps[method] = {
            name: (make_step(deepcopy(cfg), args.batch_size, args.side, args.device, name), number)
            for name, number in epochs.items()
        }
    return steps


def measure(steps: dict[str, Phases], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Time all steps in turns, and count the memory of each."""
    stopwatch = StepClock(args.device)

    def seconds(phases: Phases) -> tuple[float]:
        """What a batch of the training takes, in the mean over its epochs."""
        total = 0.0
        for name, (step, epochs) in phases.items():
            before, once, after = stopwatch.seconds(step, 1)
            if name == PASS:  # what follows from it follows from all images
                once *= args.batch_size / SAMPLES
            total += epochs * (before + once + after)
        return (total / sum(epochs for name, (_, epochs) in phases.items() if name != PASS),)

    for phases in steps.values():
        seconds(phases), seconds(phases)  # which makes the optimizer's momentum
    taken = interleave(
        {name: partial(seconds, phases) for name, phases in steps.items()},
        args.seconds,
        args.rounds,
        least=min(5, args.rounds),
    )
    times = {
        name: {number: parts[0] for number, parts in samples.items()}
        for name, samples in taken.items()
    }
    first = next(iter(steps))
    peaks = {
        name: max(peak_memory(step, args.device) for step, _ in phases.values()) / MIB
        for name, phases in steps.items()
    }
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
