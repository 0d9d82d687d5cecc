"""The data of a split as a trained network is tested on them: once, and without augmentation."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset

from mmdet_ols.datasets.tree import leaf_datasets, sources_of_samples, unaugmented_config


def split_datasets(cfg: Config, split: str, pipeline: Sequence[dict]) -> list[Any]:
    """Build the data sets of a split without repetition, mosaics and augmentation.

    Wrappers that select samples (folds, subsets) or change their labels stay.

    Args:
        cfg: Config of MMDetection or MMPretrain.
        split: 'train', 'val' or 'test'.
        pipeline: Transforms that every image passes.

    Raises:
        ValueError: The split has no data set, or the wrong labels of one cannot be drawn again.
    """
    loader = cfg.get(f'{split}_dataloader') or {}
    sources = list(sources_of_samples(loader.get('dataset')))
    if not sources:
        raise ValueError(f'The config has no data set for {split}: `{split}_dataloader` is empty.')
    init_default_scope(cfg.get('default_scope') or 'mmengine')
    seed = run_seed(cfg)
    return [DATASETS.build(unaugmented_config(source, pipeline, seed)) for source in sources]


def split_images(cfg: Config, split: str) -> ConcatDataset:
    """The images of a split, prepared for testing, by their numbers in the split.

    Raises:
        ValueError: As for `split_datasets`.
    """
    return ConcatDataset(split_datasets(cfg, split, inference_pipeline(cfg)))


def evenly_spaced(total: int, at_most: int) -> list[int]:
    """At most so many numbers below a total, evenly spaced; 0 takes all."""
    count = min(at_most or total, total)
    return np.linspace(0, total - 1, count).round().astype(int).tolist()


def class_names(cfg: Config, split: str) -> list[str]:
    """The names of the classes of a split, as its first data set has them; empty where it has none.

    Raises:
        ValueError: As for `split_datasets`.
    """
    metainfo = getattr(split_datasets(cfg, split, pipeline=[])[0], 'metainfo', None) or {}
    return [str(name) for name in metainfo.get('classes') or ()]


def inference_pipeline(cfg: Config) -> list[dict]:
    """The transforms that prepare an image for testing, without those that load annotations."""
    for split in ('test', 'val', 'train'):
        for leaf in leaf_datasets((cfg.get(f'{split}_dataloader') or {}).get('dataset')):
            steps = [dict(step) for step in deepcopy(leaf['pipeline'])]
            return [step for step in steps if 'Annotations' not in str(step['type'])]
    raise ValueError('The config has no data loader, so there are no images to read.')


def run_seed(cfg: Config) -> int | None:
    """The seed that the run was started with, or None where the config names none."""
    return (cfg.get('randomness') or {}).get('seed')


def loader_in_order(
    dataset: Dataset, indices: Sequence[int], batch_size: int = 1, num_workers: int = 0
) -> DataLoader:
    """A data loader that gives these samples of a data set, in this order."""
    from mmengine.dataset import pseudo_collate

    return DataLoader(
        Subset(dataset, indices),
        batch_size=batch_size,
        num_workers=num_workers,
        collate_fn=pseudo_collate,
    )
