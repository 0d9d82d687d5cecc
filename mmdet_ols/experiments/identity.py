"""What identifies a run wherever it was made: its settings without paths, seed and machine."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import mmdet_ols
from mmdet_ols.experiments.settings import is_below, is_default, settings_key

#: The parts of a config that decide what a run reaches, whatever version of MMEngine reads it.
DECIDING = (
    'activation_checkpointing', 'auto_scale_lr', 'channels_last', 'compile', 'custom_hooks',
    'data_preprocessor', 'default_hooks', 'efficient_conv_bn_eval', 'load_from', 'model',
    'optim_wrapper', 'param_scheduler', 'randomness', 'sync_bn', 'test_cfg', 'test_dataloader',
    'test_evaluator', 'train_cfg', 'train_dataloader', 'tta_model', 'tta_pipeline', 'val_cfg',
    'val_dataloader', 'val_evaluator',
)  # fmt: skip
#: What a run writes and shows.
WRITING = (
    'default_hooks.checkpoint', 'default_hooks.logger', 'default_hooks.timer',
    'default_hooks.visualization',
)  # fmt: skip
#: Besides that, its seed, which has a column of its own.
NOT_DECIDING = (*WRITING, 'randomness.seed')
#: Entries, anywhere, that say where files are read from.
BACKENDS = ('backend_args', 'file_client_args')
#: Entries of data loaders and data sets that say how fast, and into which memory.
READING = ('device', 'num_workers', 'persistent_workers', 'pin_memory', 'prefetch_factor')
#: The last parts of keys that name a file of weights.
WEIGHTS = ('checkpoint', 'load_from', 'teacher')


def portable_key(settings: Mapping[str, Any]) -> str:
    """Hash settings into a key that is the same on every machine and for every seed.

    Data count by the name of their folder and weights by the name of their file, not by where
    these lie. Arguments of this project's classes that have their default value do not count.

    Args:
        settings: As `flat_settings` gives them.
    """
    return settings_key(portable_settings(settings))


def portable_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that `portable_key` hashes.

    Args:
        settings: As `flat_settings` gives them.
    """
    roots = {str(value) for key, value in settings.items() if _last(key) == 'data_root' and value}
    innermost_first = sorted(roots, key=len, reverse=True)
    kept = {}
    for key, value in settings.items():
        left_out = _is_reading(key) or is_default(key, value, settings)
        if is_below(key, DECIDING) and not is_below(key, NOT_DECIDING) and not left_out:
            kept[key] = _portable(key, value, innermost_first)
    return kept


def portable_options(options: Iterable[str]) -> str:
    """Options as they are typed, in one line and without folders of this machine."""
    words = []
    for option in options:
        key, equals, value = option.partition('=')
        named = re.split(r'([\s,\[\]\'"()]+)', value)  # paths may stand in lists
        words.append(key + equals + ''.join(_without_folders(key, part) for part in named))
    return shlex.join(words)


def portable_config(config: str) -> str:
    """The path of a config as the package's checkout or the working directory sees it."""
    path = Path(config)
    for root in (Path(mmdet_ols.__file__).parents[1], Path.cwd()):
        try:
            return path.resolve().relative_to(root.resolve()).as_posix()
        except ValueError:
            continue
    return path.name


def _is_reading(key: str) -> bool:
    first, *parts = key.split('.')
    names = (*BACKENDS, *READING) if first.endswith('_dataloader') else BACKENDS
    return any(part in names for part in parts)


def _last(key: str) -> str:
    return key.rpartition('.')[2]


def _portable(key: str, value: Any, roots: Sequence[str]) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)  # 1.0 and 1 are the same setting
    if not isinstance(value, str):
        return value
    if _last(key) == 'data_root':
        return PurePosixPath(value).name
    for root in roots:
        if value.startswith(f'{root.rstrip("/")}/'):
            return value[len(root.rstrip('/')) + 1 :]
    return _without_folders(key, value)


def _without_folders(key: str, value: str) -> str:
    """A path of this machine reduced to its last part; anything else as it is."""
    if re.match(r'(?!https?:|file:)[\w-]+://', value):
        return value  # of a model zoo: `torchvision://resnet50` is not `open-mmlab://resnet50`
    absolute = os.path.isabs(value) and value.count('/') > 1
    if absolute or value.startswith('~') or _last(key) in WEIGHTS:
        return PurePosixPath(value).name
    return value
