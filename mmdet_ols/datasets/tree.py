"""Walking through data sets that wrap other data sets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmengine.config import ConfigDict

from mmdet_ols.config_tree import type_name


def leaf_datasets(dataset: Any, whole: tuple[str, ...] = ()) -> Iterator[ConfigDict]:
    """The data sets inside ConcatDataset, RepeatDataset, MultiImageMixDataset and their kin.

    Args:
        dataset: The config.
        whole: Types of wrappers that are given as they are, with what is inside.
    """
    if isinstance(dataset, (list, tuple)):
        for item in dataset:
            yield from leaf_datasets(item, whole)
    elif isinstance(dataset, dict) and dataset:
        inner = dataset.get('datasets') or dataset.get('dataset')
        if inner and type_name(dataset) not in whole:
            yield from leaf_datasets(inner, whole)
        else:
            yield dataset
