"""Moving the data of a config to another folder: the option `--data-root`."""

from __future__ import annotations

import os
from typing import Any

from mmengine.config import Config

from mmdet_ols.checks.folders import check_path
from mmdet_ols.config_tree import type_name
from mmdet_ols.datasets.tree import datasets_of_config

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
#: Besides the data sets, these may name files that lie below the root.
READERS = ('val_evaluator', 'test_evaluator', 'default_hooks', 'custom_hooks')


def replace_data_root(cfg: Config, root: str) -> None:
    """Let every data set of a config, and every file derived from its root, lie below another root.

    Replaced are `data_root` of the data sets of all splits, however they are wrapped, absolute
    paths below it in their other entries, and paths below it in evaluators and hooks, such as the
    `ann_file` of `CocoMetric`.

    Args:
        cfg: The config, which is changed.
        root: The new root.

    Raises:
        ValueError: `root` cannot be written into a config (see `check_path`), no data set has a
            `data_root`, or they have several.
    """
    check_path('--data-root', root)
    old = _only_root(cfg)
    new = os.path.expanduser(root)
    for name in (*LOADERS, *READERS):
        if cfg.get(name):
            cfg[name] = _moved(cfg[name], old, new)
    variable = cfg.get('data_root')  # from which many configs compose their paths
    if isinstance(variable, str) and _normal(variable) == old:
        cfg.data_root = _with_end_of(variable, new)


def _only_root(cfg: Config) -> str:
    """The one root that all data sets of a config share."""
    places: dict[str, list[str]] = {}
    for split, dataset in datasets_of_config(cfg):
        root = dataset.get('data_root')
        if root:
            where = f'{split}_dataloader, {type_name(dataset)} ({root})'
            places.setdefault(_normal(root), []).append(where)
    if not places:
        raise ValueError(
            '--data-root replaces `data_root` of the data sets, but no data set of this config has '
            'one: write data_root=... into them, with paths relative to it, or change their paths '
            'with --cfg-options.'
        )
    if len(places) > 1:
        listed = '\n'.join(f'  {where[0]}' for where in places.values())
        raise ValueError(
            f'--data-root replaces the one root that all data sets share, but those of this config '
            f'have {len(places)} roots:\n{listed}\nReplace each with --cfg-options instead.'
        )
    return next(iter(places))


def _moved(node: Any, old: str, new: str, only_absolute: bool = False) -> Any:
    """A copy of a part of a config in which every path below the old root lies below the new one.

    A copy, because parts of a config may be the same object, as those of `val_evaluator` and
    `test_evaluator` often are, and must not be moved twice. MMEngine joins relative paths of a data
    set to its `data_root`, so that only absolute ones can lie below the old root there.
    """
    if isinstance(node, dict):
        root = node.get('data_root')
        moved = {k: _moved(v, old, new, only_absolute or bool(root)) for k, v in node.items()}
        if root and _normal(root) == old:
            moved['data_root'] = _with_end_of(root, new)
        return type(node)(moved)
    if isinstance(node, (list, tuple)):
        return type(node)(_moved(item, old, new, only_absolute) for item in node)
    if not isinstance(node, str) or (only_absolute and not os.path.isabs(node)):
        return node
    rest = _rest(node, old)
    return node if rest is None else _with_end_of(node, os.path.join(new, rest))


def _rest(path: str, root: str) -> str | None:
    """What follows the root in a path below it, '' for the root itself, None for other strings."""
    if '/' not in path:
        return None
    if '://' not in path and '://' not in root:
        if os.path.isabs(path) != os.path.isabs(root):
            path, root = os.path.abspath(path), os.path.abspath(root)
        path, root = os.path.normpath(path), os.path.normpath(root)
    path, root = path.rstrip('/'), root.rstrip('/')
    if path == root:
        return ''
    return path[len(root) + 1 :] if path.startswith(f'{root}/') else None


def _normal(root: str) -> str:
    return root.rstrip('/') if '://' in root else os.path.normpath(os.path.expanduser(root))


def _with_end_of(old: str, new: str) -> str:
    """The new path, with a slash at its end if the old one has one, as for strings added to it."""
    new = new.rstrip('/') or '/'
    return f'{new}/' if old.endswith('/') and new != '/' else new
