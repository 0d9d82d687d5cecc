"""Trying the evaluation of a config before a training starts, and what follows its metrics."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import HOOKS, DefaultScope

from mmdet_ols.checks.made_up_predictions import evaluate_made_up_predictions
from mmdet_ols.checks.processes import is_first_process
from mmdet_ols.config_tree import all_hooks, is_a, registered_class, type_name


def check_evaluation(cfg: Config, splits: Sequence[str] = ('val', 'test')) -> None:
    """Find what the first validation or test would stumble over.

    The metrics are built and, as far as their predictions can be made up, tried on those of one
    image of the data set. What chooses checkpoints, stops the training or lowers the learning rate
    by a metric is held against the metrics that the validation gives.

    Args:
        cfg: A config for MMDetection or MMPretrain, whose data are there.
        splits: Whose evaluation to try, of 'val' and 'test'.

    Raises:
        FileNotFoundError: A metric names annotations that do not exist.
        ValueError: A metric cannot be built or cannot evaluate such predictions, the first image
            cannot be loaded, or something follows a metric that is not there.
    """
    if not is_first_process():
        return  # the first process checks for all
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        for split in splits:
            parts = ('dataloader', 'evaluator', 'cfg')
            if any(cfg.get(f'{split}_{part}') is None for part in parts):
                continue
            if split == 'test' and 'val' in splits and _are_equal(cfg):
                continue
            names = evaluate_made_up_predictions(cfg, split)
            if split == 'val' and names is not None:
                _check_followers(cfg, names)
    if 'val' in splits:
        _warn_of_no_validation(cfg)


def _are_equal(cfg: Config) -> bool:
    """Whether a test does what a validation does."""
    parts = ('dataloader', 'evaluator')
    return all(cfg.get(f'val_{part}') == cfg.get(f'test_{part}') for part in parts)


def _check_followers(cfg: Config, names: Sequence[str]) -> None:
    """Check whatever follows a metric by its name.

    Args:
        cfg: The config.
        names: Of everything that the validation gives, in its order.
    """
    for hook in all_hooks(cfg):
        if not isinstance(hook, dict):
            continue
        cls = registered_class(HOOKS, hook)
        if is_a(cls, 'CheckpointHook') and hook.get('save_best'):
            _check_save_best(cls, hook, names)
        elif is_a(cls, 'EarlyStoppingHook') and hook.get('monitor'):
            message = _unknown_metric('`monitor` of EarlyStoppingHook', hook['monitor'], names)
            if message and hook.get('strict'):
                raise ValueError(message)
            if message:
                print_log(f'{message} It stops nothing.', logger='current', level=logging.WARNING)
    for scheduler in _schedulers(cfg.get('param_scheduler')):
        if type_name(scheduler).startswith('ReduceOnPlateau'):
            where = f'`monitor` of {type_name(scheduler)}'
            message = _unknown_metric(where, scheduler.get('monitor', 'loss'), names)
            if message:
                raise ValueError(message)


def _check_save_best(cls: Any, hook: dict, names: Sequence[str]) -> None:
    """Check the metrics by which the best checkpoint is chosen."""
    wanted = hook['save_best']
    where = '`save_best` of CheckpointHook'
    wanted = [wanted] if isinstance(wanted, str) else list(wanted)
    if wanted == ['auto']:
        wanted = list(names[:1])
    for name in wanted:
        message = _unknown_metric(where, name, names)
        if message:
            raise ValueError(message)
    try:
        arguments = {key: value for key, value in hook.items() if key not in ('type', 'priority')}
        cls(**{**arguments, 'save_best': wanted})
    except ValueError as error:
        raise ValueError(
            f'{where} follows {", ".join(wanted)}, and MMEngine does not know whether more or less '
            f"of it is better ({error}): set rule='greater' or rule='less' next to it, or name "
            f'another of {", ".join(names)}.'
        ) from error


def _unknown_metric(where: str, name: str, names: Sequence[str]) -> str | None:
    """What is wrong with the name of a metric, as a sentence; None if the validation gives it."""
    if name in names:
        return None
    close = difflib.get_close_matches(name, names, 1, 0.5)
    meant = f' (did you mean {close[0]!r}?)' if close else ''
    return (
        f'{where} must name a metric that the validation gives, one of {", ".join(names)}, but got '
        f'{name!r}{meant}.'
    )


def _schedulers(node: Any) -> Iterator[dict]:
    """Every scheduler of a config, which may be one, a list, or a dict of lists."""
    if isinstance(node, dict) and 'type' in node:
        yield node
    elif isinstance(node, (dict, list, tuple)):
        for child in node.values() if isinstance(node, dict) else node:
            yield from _schedulers(child)


def _warn_of_no_validation(cfg: Config) -> None:
    """Say that no validation will come, where one is asked for."""
    train_cfg = cfg.get('train_cfg') or {}
    length = train_cfg.get('max_epochs') or train_cfg.get('max_iters')
    begin = train_cfg.get('val_begin', 1)
    best = any(
        isinstance(hook, dict) and type_name(hook) == 'CheckpointHook' and hook.get('save_best')
        for hook in all_hooks(cfg)
    )
    message = None
    if cfg.get('val_dataloader') and length and begin > length:
        unit = 'epochs' if 'max_epochs' in train_cfg else 'iterations'
        message = (
            f'Nothing will be validated: train_cfg.val_begin is {begin}, but the training ends '
            f'after {length} {unit}. Set val_begin to {length} at most.'
        )
    elif best and not cfg.get('val_dataloader'):
        message = (
            'No best checkpoint will be saved, although `save_best` of CheckpointHook asks for it: '
            'the config has no validation. Add val_dataloader, val_cfg and val_evaluator.'
        )
    if message:
        print_log(message, logger='current', level=logging.WARNING)
