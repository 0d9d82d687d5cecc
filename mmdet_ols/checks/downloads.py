"""Letting data sets that download themselves do so once, before a training starts."""

from __future__ import annotations

import inspect
from copy import deepcopy
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS, DefaultScope

from mmdet_ols.checks.classification_data import instructions
from mmdet_ols.checks.processes import is_first_process
from mmdet_ols.checks.servers import SERVER_TIMEOUT, server_timeout
from mmdet_ols.config_tree import registered_class, type_name
from mmdet_ols.datasets.tree import SPLITS, datasets_of_config


def fetch_datasets(cfg: Config, splits: tuple[str, ...] = SPLITS) -> None:
    """Build the data sets that download themselves once, so that later ones find their files.

    The first process does it for all.

    Args:
        cfg: A config for MMPretrain or MMDetection.
        splits: Which data loaders to fetch for, of 'train', 'val' and 'test'.

    Raises:
        ValueError: One cannot be built, mostly for want of a network; the message says how to do
            without.
    """
    if not is_first_process():
        return
    done: list[ConfigDict] = []
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        for split, dataset in datasets_of_config(cfg, splits):
            if dataset in done or not downloads_itself(registered_class(DATASETS, dataset)):
                continue
            done.append(dataset)
            try:
                with server_timeout(SERVER_TIMEOUT):
                    DATASETS.build(deepcopy(dataset))
            except Exception as error:  # whatever its code raises
                name, root = type_name(dataset), dataset.get('data_root') or ''
                by_hand = instructions(name, root) or 'put the data there by hand.'
                raise ValueError(
                    f'{split}_dataloader, {name}, which downloads its data to {root!r}, cannot '
                    f'be built: {error!r}. Check the network, or: {by_hand}'
                ) from error


def downloads_itself(cls: Any) -> bool:
    """Whether missing data are fetched on first use, as MMPretrain's CIFAR and MNIST do."""
    return isinstance(cls, type) and 'download' in inspect.signature(cls).parameters
