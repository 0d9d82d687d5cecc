#!/usr/bin/env python
"""Compare the images per second of InMemoryDataset and of MMPretrain's pipeline.

The latter handles one image at a time. Both load CIFAR-10, crop and flip at random, and end with
MMPretrain's data preprocessor.

    python benchmarks/data_pipeline.py                      random images
    python benchmarks/data_pipeline.py --data data/cifar10  the real ones
"""

from __future__ import annotations

import argparse
import pickle
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import mmengine
import mmpretrain
import numpy as np
import torch
from mmengine.runner import Runner
from mmpretrain.datasets import CIFAR10
from mmpretrain.registry import DATASETS, MODELS
from mmpretrain.utils import register_all_modules
from rich.progress import track

import mmdet_ols  # noqa: F401  (registers its data sets)

PREPROCESSOR = dict(
    type='ClsDataPreprocessor',
    num_classes=10,
    mean=[125.307, 122.961, 113.8575],
    std=[51.5865, 50.847, 51.255],
)


@DATASETS.register_module()
class UncheckedCIFAR10(CIFAR10):
    """CIFAR-10's files, whatever they contain."""

    train_list = [[name, None] for name, _ in CIFAR10.train_list]
    test_list: list[Any] = []
    meta = {**CIFAR10.meta, 'md5': None}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--data',
        metavar='FOLDER',
        help='where `cifar-10-batches-py` lies, or one folder of images for each class (default: '
        'random images)',
    )
    parser.add_argument('--images', type=int, default=10000, help='number of images (10000)')
    parser.add_argument('--batch-size', type=int, default=128, help='(128)')
    parser.add_argument('--repeats', type=int, default=5, help='number of epochs to time (5)')
    return parser.parse_args()


def make_cifar10(root: str, count: int) -> None:
    """Write random images of random classes in the layout of CIFAR-10's archive."""
    folder = Path(root, CIFAR10.base_folder)
    folder.mkdir()
    draws = np.random.default_rng(0)
    for name, part in zip(CIFAR10.train_list, np.array_split(np.arange(count), 5)):
        data = draws.integers(0, 256, (len(part), 3072), dtype=np.uint8)
        labels = draws.integers(0, 10, len(part)).tolist()
        (folder / name[0]).write_bytes(pickle.dumps({'data': data, 'labels': labels}))


def data_set(folder: str, count: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the data set's config without a pipeline, and the transforms that load its images."""
    if Path(folder, CIFAR10.base_folder).is_dir():
        cfg = dict(type='UncheckedCIFAR10', data_root=folder, download=False, indices=count)
        return cfg, []
    return (
        dict(type='CustomDataset', data_prefix=folder, indices=count),
        [dict(type='LoadImageFromFile')],
    )


def candidates(dataset: dict[str, Any], load: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return by name what differs between the data loaders."""
    pack = [dict(type='PackInputs')]
    augment = [
        dict(type='RandomCrop', crop_size=32, padding=4),
        dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    ]
    by_batch = [
        dict(type='BatchRandomCrop', crop_size=32, padding=4),
        dict(type='BatchRandomFlip', prob=0.5),
    ]
    by_image = {**dataset, 'pipeline': [*load, *augment, *pack]}
    loaders: dict[str, dict[str, Any]] = {
        f'one image at a time, {workers} workers': dict(
            dataset=by_image,
            collate_fn=dict(type='default_collate'),
            num_workers=workers,
            persistent_workers=workers > 0,
        )
        for workers in (0, 2)
    }
    for device in ('cpu', 'cuda') if torch.cuda.is_available() else ('cpu',):
        loaders[f'InMemoryDataset, {device}'] = dict(
            dataset=dict(
                type='InMemoryDataset',
                dataset={**dataset, 'pipeline': [*load, *pack]},
                batch_transforms=by_batch,
                device=device,
            ),
            collate_fn=dict(type='whole_batch_collate'),
            num_workers=0,
        )
    return loaders


def epoch(
    loader: torch.utils.data.DataLoader, preprocessor: torch.nn.Module
) -> tuple[float, float]:
    """Return the seconds of one pass over the data: wall-clock time and this process's CPU time."""
    start, cpu_start = time.perf_counter(), time.process_time()
    for batch in loader:
        preprocessor(batch, training=True)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start, time.process_time() - cpu_start


def print_table(
    seconds: dict[str, list[tuple[float, float]]], count: int, without_workers: set[str]
) -> None:
    """Print a line for each data loader, and how they compare."""
    print(f'| {"images per second":31} | median | slowest to fastest | per CPU second |')
    print(f'|{"-" * 33}|-------:|-------------------:|---------------:|')
    medians = {}
    for name, epochs in seconds.items():
        times, cpu_times = zip(*epochs)
        medians[name] = count / statistics.median(times)
        spread = f'{count / max(times):,.0f} to {count / min(times):,.0f}'
        # The CPU time of worker processes is not counted here.
        by_cpu = ''
        if name in without_workers:
            by_cpu = f'{count / statistics.median(cpu_times):,.0f}'
        print(f'| {name:31} | {medians[name]:6,.0f} | {spread:>18} | {by_cpu:>14} |')
    best = max(value for name, value in medians.items() if name.startswith('one'))
    for name, value in medians.items():
        if not name.startswith('one'):
            print(f'{name}: {value / best:.1f} times the faster way with one image at a time')


def main() -> None:
    args = parse_args()
    # The transforms that read and resize images are registered in MMPretrain's scope.
    register_all_modules(init_default_scope=True)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    preprocessor = MODELS.build(PREPROCESSOR).to(device)
    with tempfile.TemporaryDirectory() as made:
        if not args.data:
            make_cifar10(made, args.images)
        dataset, load = data_set(args.data or made, args.images)
        loaders = {
            name: Runner.build_dataloader(
                dict(
                    batch_size=args.batch_size,
                    sampler=dict(type='DefaultSampler', shuffle=True),
                    **settings,
                ),
                seed=0,
            )
            for name, settings in candidates(dataset, load).items()
        }
        for loader in loaders.values():
            epoch(loader, preprocessor)  # starts the workers and warms the caches
        seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in loaders}
        # In turns, so that other load on the machine affects all alike.
        for _ in track(range(args.repeats), 'Timing', transient=True):
            for name, loader in loaders.items():
                seconds[name].append(epoch(loader, preprocessor))
    count = len(next(iter(loaders.values())).dataset)
    without_workers = {name for name, loader in loaders.items() if loader.num_workers == 0}
    print_table(seconds, count, without_workers)
    gpu = f', {torch.cuda.get_device_name()}' if torch.cuda.is_available() else ''
    print(
        f'{count} images, batches of {args.batch_size}, {args.repeats} epochs each; '
        f'{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads{gpu}; '
        f'PyTorch {torch.__version__}, MMEngine {mmengine.__version__}, '
        f'MMPretrain {mmpretrain.__version__}'
    )


if __name__ == '__main__':
    main()
