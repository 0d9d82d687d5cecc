#!/usr/bin/env python
"""Measure how long a training step takes for each kind of step that the paper's tables need.

Each step is a whole one: preprocessing, forward pass, backward pass, optimizer, or what the loop
of a method does instead of that, on made-up images of the config's own size. Methods that change
only the loss share a kind, of which the first is measured. A method with passes over all images
has three: its steps before and after it begins to correct labels, and the pass with what follows
from it. Each kind becomes a row of a CSV file at once, and kinds that have one are not measured
again, so the command can be interrupted.

    python benchmarks/step_times.py --batch-size 4 --out benchmarks/step_times_cpu.csv
    python benchmarks/step_times.py --device cuda --out step_times_gpu.csv
    mmdet-ols reproduce plan --step-times benchmarks/step_times_cpu.csv

The seconds are those for each training image. The optimizer's work does not grow with the batch, so
it is timed by itself and divided by the config's batch size, not by the smaller one of
`--batch-size`. On one thread of a CPU it is processor time, which other processes on the machine
change less than they do the time that passes.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from made_steps import SAMPLES, make_step
from mmengine.registry import DefaultScope
from rich.progress import track
from timing import StepClock, circumstances, keep_freed_memory

from mmdet_ols.experiments.specification import Variant
from mmdet_ols.reproduction.image_sides import training_side
from mmdet_ols.reproduction.plan import Plan
from mmdet_ols.reproduction.scales import planned_cells
from mmdet_ols.reproduction.step_times import PASS, Phase, StepTimes, phases, read_step_rows

#: No more steps of a kind are timed.
MOST_STEPS = 30


def parse_args(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--table', nargs='+', dest='tables', default=(), help='such as II (all)')
    parser.add_argument('--batch-size', type=int, help="the most images of a step (the config's)")
    parser.add_argument('--steps', type=int, default=3, help='how many are timed at least (3)')
    parser.add_argument(
        '--seconds', type=float, default=5, help='more are timed within so long of each kind (5)'
    )
    parser.add_argument('--threads', type=int, default=1, help='of the CPU (1)')
    parser.add_argument('--device', default='cpu', help="'cpu' or 'cuda' (cpu)")
    parser.add_argument('--out', type=Path, metavar='FILE.csv', required=True)
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    args = parse_args(words)
    torch.set_num_threads(args.threads)
    if args.device == 'cpu':
        keep_freed_memory()
    facts = circumstances(args.device)
    try:
        done = measured_kinds(args.out, facts)
    except ValueError as error:
        sys.exit(f'error: {error}')
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(planned_cells('paper', args.tables), [0], folder, progress=_progress('reading'))
    kinds = kinds_of(plan.variant(run) for run in plan.folders)
    missing = [phase for phase in kinds if phase.kind not in done]
    print(f'{len(kinds)} kinds of steps, of which {len(kinds) - len(missing)} are measured')
    failed = 0
    for phase in _progress('measuring')(missing):
        name = name_of(kinds[phase], phase)
        try:
            row = measure(phase, kinds[phase], args)
        except RuntimeError as error:  # such as too little memory
            print(f'{name} failed: {error}', file=sys.stderr)
            failed += 1
            continue
        write_row(args.out, dict(row, **facts))
        print(f'{name}: {row["median_s"]:.3g} s an image')
    if failed:
        sys.exit(f'error: {failed} kinds could not be measured')


def kinds_of(variants: Iterable[Variant]) -> dict[Phase, Variant]:
    """The first phase of each kind, and whose it is."""
    kinds: dict[str, tuple[Phase, Variant]] = {}
    for variant in variants:
        for phase in phases(variant):
            kinds.setdefault(phase.kind, (phase, variant))
    return dict(kinds.values())


def measured_kinds(path: Path, facts: dict[str, Any]) -> set[str]:
    """The kinds that a file has rows of.

    Raises:
        ValueError: It is no file of step times, or one of another device.
    """
    rows = read_step_rows(path) if path.is_file() else []
    if not rows:
        return set()
    here = rows[0]._replace(**{key: facts[key] for key in ('device', 'machine', 'threads')})
    StepTimes([here, *rows], str(path))  # which refuses several devices
    return {row.step for row in rows}


def measure(phase: Phase, variant: Variant, args: argparse.Namespace) -> dict[str, Any]:
    """Time the steps of a phase of a training, or its passes."""
    cfg = deepcopy(variant.cfg)
    whole = cfg.train_dataloader['batch_size']
    size = min(whole, args.batch_size or whole)
    side = training_side(cfg)
    assert side is not None  # of what has phases
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        step = make_step(cfg, size, side, args.device, phase.name)
        stopwatch = StepClock(args.device)
        stopwatch.seconds(step, 1)  # which makes the optimizer's momentum
        steps: list[tuple[float, ...]] = []
        start = time.perf_counter()
        while len(steps) < args.steps or (
            len(steps) < MOST_STEPS and time.perf_counter() - start < args.seconds
        ):
            steps.append(stopwatch.seconds(step, 1))
    share = SAMPLES if phase.name == PASS else whole
    seconds = [(before + after) / size + once / share for before, once, after in steps]
    low, middle, high = np.quantile(seconds, [0.25, 0.5, 0.75]).tolist()
    return dict(
        step=phase.kind,
        config=Path(variant.request.config).name,
        method=' '.join(filter(None, (str(variant.request.method), phase.name))),
        batch_size=size,
        config_batch_size=whole,
        side=side,
        clock='processor' if args.device == 'cpu' and args.threads == 1 else 'wall',
        n=len(seconds),
        q1_s=low,
        median_s=middle,
        q3_s=high,
    )


def write_row(path: Path, row: dict[str, Any]) -> None:
    """Add a row to a CSV file at once."""
    is_new = not path.is_file() or not path.stat().st_size
    with path.open('a', newline='') as file:
        writer = csv.DictWriter(file, fieldnames=list(row))
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def name_of(variant: Variant, phase: Phase) -> str:
    return f'{Path(variant.request.config).stem} {variant.request.method} {phase.name}'.strip()


def _progress(what: str) -> Callable[[list], Iterable]:
    return lambda items: track(items, what)


if __name__ == '__main__':
    main()
