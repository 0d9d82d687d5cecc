"""Which size the images of a config have when they reach the network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmengine.config import Config

from mmdet_ols.config_tree import type_name
from mmdet_ols.datasets.tree import leaf_datasets, walk_datasets

#: Transforms that say the size of the images that leave them.
SIZING = ('CenterCrop', 'RandomCrop', 'RandomResizedCrop', 'Resize', 'ResizeEdge')


def side_of(pipeline: Any) -> int | None:
    """The size that the last transform of a pipeline with one gives images."""
    for step in reversed(list(pipeline)):
        if type_name(step) in SIZING:
            return sizes_of(step)[0]
    return None


def sizes_of(step: Any) -> list[int]:
    """The sides that a transform gives images; empty where it says none."""
    value = step.get('crop_size', step.get('scale'))
    return list(value) if isinstance(value, (list, tuple)) else [value] if value else []


def training_side(cfg: Config) -> int | None:
    """Pixels of a side of the images that a config trains on; None where it does not say.

    Of multi-scale training it is the size whose area is nearest to the mean area, since the time of
    a step grows with the area.
    """
    sizes = [size for augment in batch_augments(cfg) for size in augment.get('sizes') or ()]
    if sizes:
        mean = sum(size**2 for size in sizes) / len(sizes)
        return min(sizes, key=lambda size: abs(size**2 - mean))
    dataset = cfg.train_dataloader['dataset']
    for leaf in leaf_datasets(dataset):
        side = side_of(leaf.get('pipeline') or ())
        if side is not None:
            return side
    for node in walk_datasets(dataset):
        for step in node.get('batch_transforms') or ():
            if sizes_of(step):
                return sizes_of(step)[0]
    return None


def batch_augments(cfg: Config) -> Iterator[Any]:
    """What a config's data preprocessor does to whole batches."""
    for owner in (cfg.model, cfg):
        yield from (owner.get('data_preprocessor') or {}).get('batch_augments') or ()
