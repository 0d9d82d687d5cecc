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
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from method_cost import build, make_batch
from mmengine.config import Config
from mmengine.dataset import BaseDataset, pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import LOOPS, DefaultScope
from rich.progress import track
from timing import Step, Stopwatch, circumstances, keep_freed_memory
from torch.utils.data import DataLoader

from mmdet_ols.config_tree import type_name
from mmdet_ols.core import SampleState
from mmdet_ols.datasets import CleanPartDataset, NumberedDataset
from mmdet_ols.datasets.tree import CLEAN_PART, walk_datasets
from mmdet_ols.evaluation.passes import evaluation_mode
from mmdet_ols.experiments.specification import Variant
from mmdet_ols.losses.sample_loss import SampleLoss
from mmdet_ols.reproduction.image_sides import training_side
from mmdet_ols.reproduction.plan import Plan
from mmdet_ols.reproduction.scales import planned_cells
from mmdet_ols.reproduction.step_times import (
    AFTER,
    PASS,
    Phase,
    StepTimes,
    phases,
    read_step_rows,
)

#: In each image for a detector; VOC has 2.5.
OBJECTS = 3
#: MMEngine's loop, which runs the model's own training step.
PLAIN_LOOP = 'EpochBasedTrainLoop'
#: Of which a pass draws its conclusions: CIFAR's, where the methods with passes are.
SAMPLES = 50_000
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


def make_step(cfg: Config, size: int, side: int, device: str, phase: str = '') -> Step:
    """What runs a step of a config, or of its pass over all images.

    The second of its three parts does not grow with the batch: the update of the weights, or what
    follows from the pass.

    Args:
        cfg: The config; it is changed.
        size: Images in a batch.
        side: Pixels of a side.
        device: Where to compute.
        phase: The name of a `Phase`.
    """
    for owner in (cfg.model, cfg):  # the images have their size already
        (owner.get('data_preprocessor') or {}).pop('batch_augments', None)
    torch.manual_seed(0)
    model = build(cfg, device)
    model.train()
    stopwatch = StepClock(device)
    if phase in (AFTER, PASS):
        step = _pass_step(cfg, model, size, side, stopwatch)
        if phase == PASS:
            return step
        step()
        loss_of(model).begin_epoch(cfg.model.head.loss.correct_from)
    optimizer = build_optim_wrapper(model, dict(cfg.optim_wrapper))
    loop = cfg.train_cfg.get('type', PLAIN_LOOP)
    if 'clean_batch_size' in cfg.train_cfg:
        run = _step_of_loop(cfg, model, optimizer, size, side)
    elif loop == PLAIN_LOOP:
        run = _plain_step(cfg, model, optimizer, size, side)
    else:
        raise RuntimeError(f'there is no made-up data for the steps of {loop}')
    return _with_parts(run, optimizer, stopwatch)


def _with_parts(run: Callable[[], Any], optimizer: Any, stopwatch: Stopwatch) -> Step:
    """Let a step say when its optimizer began and ended."""
    moments: list[Any] = []
    update = optimizer.step

    def timed_update(**kwargs: Any) -> None:
        moments.append(stopwatch.now())
        update(**kwargs)
        moments.append(stopwatch.now())

    optimizer.step = timed_update

    def step() -> tuple[Any, ...]:
        moments[:] = [stopwatch.now()]
        run()
        return (*moments, stopwatch.now())

    return step


def _plain_step(cfg: Config, model: Any, optimizer: Any, size: int, side: int) -> Callable[[], Any]:
    """MMEngine's own step."""
    if 'bbox_head' in cfg.model:
        batch = detector_batch(cfg, size, side)
    else:
        batch = make_batch(cfg, size, side)
    for module in model.modules():
        if isinstance(module, SampleState) and not module.num_samples:
            module.allocate(size)
    return lambda: model.train_step(batch, optimizer)


def _pass_step(cfg: Config, model: Any, size: int, side: int, stopwatch: Stopwatch) -> Step:
    """Measure a batch, and draw the conclusions from as many samples as CIFAR has."""
    loss = loss_of(model)
    loss.state.allocate(SAMPLES)
    loss.state.put(given=torch.arange(SAMPLES) % loss.num_classes)
    batch = make_batch(cfg, size, side)
    made_up: dict[str, torch.Tensor] = {}

    def step() -> tuple[Any, ...]:
        start = stopwatch.now()
        with torch.no_grad(), evaluation_mode(model) as classifier:
            data = classifier.data_preprocessor(batch, False)
            measured = loss.measure(classifier, data['inputs'], data['data_samples'])
            rows = {name: value.float().cpu() for name, value in measured.items()}
        middle = stopwatch.now()
        if not made_up:  # in the first step, which is not timed
            made_up.update({k: torch.rand(SAMPLES, *row.shape[1:]) for k, row in rows.items()})
        loss.take(made_up)
        end = stopwatch.now()
        return start, middle, end, end

    return step


def _step_of_loop(
    cfg: Config, model: Any, optimizer: Any, size: int, side: int
) -> Callable[[], Any]:
    """The step of a loop that weighs samples by clean ones, of which it takes as large a share."""
    settings = dict(cfg.train_cfg)
    whole = cfg.train_dataloader['batch_size']
    settings['clean_batch_size'] = max(1, round(settings['clean_batch_size'] * size / whole))
    classes = cfg.model.head.num_classes
    nodes = walk_datasets(cfg.train_dataloader['dataset'])
    held_out = sum(node['samples_per_class'] for node in nodes if type_name(node) == CLEAN_PART)
    images = MadeImages(classes, (held_out + 1) * classes + size, side)
    dataset = NumberedDataset(CleanPartDataset(images, 'rest', held_out, seed=0))
    runner = SimpleNamespace(
        model=model,
        optim_wrapper=optimizer,
        seed=0,
        visualizer=SimpleNamespace(),
        register_hook=lambda hook: None,
        call_hook=lambda *args, **kwargs: None,
    )
    loader = DataLoader(dataset, batch_size=size, collate_fn=pseudo_collate)
    loop = LOOPS.build(dict(settings, runner=runner, dataloader=loader))
    for module in model.modules():
        if isinstance(module, SampleState):
            module.allocate(len(images))
    batch = next(iter(loader))
    return lambda: loop.run_iter(0, batch)


def loss_of(model: Any) -> SampleLoss:
    """The loss of a model that knows its samples."""
    (loss,) = (module for module in model.modules() if isinstance(module, SampleLoss))
    return loss


class StepClock(Stopwatch):
    """The clock of a device; for one thread of a CPU it is that of the process."""

    def now(self) -> Any:
        if self.on_gpu or torch.get_num_threads() > 1:
            return super().now()
        return time.process_time()


class MadeImages(BaseDataset):
    """Noise, with each class equally often, as far as that goes."""

    def __init__(self, classes: int, count: int, side: int) -> None:
        self.count, self.side = count, side
        names = tuple(map(str, range(classes)))
        super().__init__(
            metainfo=dict(classes=names), pipeline=[dict(type='PackInputs')], serialize_data=False
        )

    def load_data_list(self) -> list[dict[str, Any]]:
        noise = np.random.default_rng(0)
        shape = (self.side, self.side, 3)
        classes = len(self.metainfo['classes'])
        return [
            dict(img=noise.integers(256, size=shape, dtype=np.uint8), gt_label=index % classes)
            for index in range(self.count)
        ]


def detector_batch(cfg: Config, size: int, side: int) -> dict[str, Any]:
    """Made-up images with a few objects each, as MMDetection's pipelines pack them."""
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    generator = torch.Generator().manual_seed(0)
    shape = (size, 3, side, side)
    images = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    samples = []
    for index in range(size):
        corners = side * torch.rand(OBJECTS, 2, 2, generator=generator).sort(1).values
        labels = torch.randint(cfg.model.bbox_head.num_classes, (OBJECTS,), generator=generator)
        size_of = dict.fromkeys(('img_shape', 'ori_shape', 'pad_shape'), (side, side))
        sample = DetDataSample(metainfo=dict(size_of, img_id=index, scale_factor=(1.0, 1.0)))
        sample.gt_instances = InstanceData(bboxes=corners.flatten(1), labels=labels)
        sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4))
        samples.append(sample)
    return dict(inputs=list(images), data_samples=samples)


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
