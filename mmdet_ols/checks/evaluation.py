"""Trying the evaluation of a config before a training starts, and what follows its metrics."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, DefaultScope

from mmdet_ols.checks.logs import warn
from mmdet_ols.checks.made_up_predictions import evaluate_made_up_predictions
from mmdet_ols.checks.processes import is_first_process
from mmdet_ols.checks.schedules import schedules_of
from mmdet_ols.config_tree import (
    all_hooks,
    hook_configs,
    hooks_of_kind,
    is_users,
    registered_class,
    type_name,
)
from mmdet_ols.core.suggestions import did_you_mean


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
            if split == 'test' and 'val' in splits and validates_on_the_test_set(cfg):
                continue
            names = evaluate_made_up_predictions(cfg, split)
            if split == 'val' and names is not None:
                _check_followers(cfg, _metrics(cfg, names))
    if 'val' in splits:
        _warn_of_no_validation(cfg)


def validates_on_the_test_set(cfg: Config) -> bool:
    """Whether validations see the same data, with the same metrics, as the test does."""
    parts = ('dataloader', 'evaluator')
    return all(cfg.get(f'val_{part}') == cfg.get(f'test_{part}') for part in parts)


class Metrics(NamedTuple):
    """What a validation gives: metrics with these names, and others that hooks add."""

    names: Sequence[str]
    #: Regular expressions.
    added: Sequence[str]

    def complaint(self, where: str, name: str) -> str | None:
        """What is wrong with a name, as a sentence; None if the validation gives it."""
        if name in self.names or any(re.fullmatch(key, name) for key in self.added):
            return None
        return (
            f'{where} must name a metric that the validation gives, one of '
            f'{", ".join(self.names)}, but got {name!r}{did_you_mean(name, self.names)}.'
        )


def _metrics(cfg: Config, names: Sequence[str]) -> Metrics:
    """What the validation of a config gives, its hooks included."""
    added: list[str] = []
    for hook in all_hooks(cfg):
        cls = registered_class(HOOKS, hook) if isinstance(hook, dict) else type(hook)
        added += [description.key for description in getattr(cls, 'logged_metrics', ())]
        # Of the hosts' hooks, none adds metrics to a validation.
        own = getattr(cls, 'after_val_epoch', None)
        if hook is not None and is_users(cls) and own is not Hook.after_val_epoch:
            added.append('.*')
    return Metrics(names, added)


def _check_followers(cfg: Config, metrics: Metrics) -> None:
    """Check whatever follows a metric by its name."""
    for hook in hooks_of_kind(cfg, 'CheckpointHook').values():
        if hook.get('save_best'):
            _check_save_best(hook, metrics)
    for hook in hooks_of_kind(cfg, 'EarlyStoppingHook').values():
        monitor = hook.get('monitor')
        message = monitor and metrics.complaint('`monitor` of EarlyStoppingHook', monitor)
        if message and hook.get('strict'):
            raise ValueError(message)
        if message:
            warn(f'{message} It stops nothing.')
    for _, scheduler in schedules_of(cfg):
        if type_name(scheduler).startswith('ReduceOnPlateau'):
            where = f'`monitor` of {type_name(scheduler)}'
            message = metrics.complaint(where, scheduler.get('monitor', 'loss'))
            if message:
                raise ValueError(message)


def _check_save_best(hook: dict, metrics: Metrics) -> None:
    """Check the metrics by which the best checkpoint is chosen."""
    wanted = hook['save_best']
    where = '`save_best` of CheckpointHook'
    wanted = [wanted] if isinstance(wanted, str) else list(wanted)
    if wanted == ['auto']:
        wanted = list(metrics.names[:1])
    for name in wanted:
        message = metrics.complaint(where, name)
        if message:
            raise ValueError(message)
    arguments = {key: value for key, value in hook.items() if key not in ('type', 'priority')}
    try:
        registered_class(HOOKS, hook)(**{**arguments, 'save_best': wanted})
    except ValueError as error:
        raise ValueError(
            f'{where} follows {", ".join(wanted)}, and MMEngine does not know whether more or less '
            f"of it is better ({error}): set rule='greater' or rule='less' next to it, or name "
            f'another of {", ".join(metrics.names)}.'
        ) from error


def _warn_of_no_validation(cfg: Config) -> None:
    """Say that no validation will come, where one is asked for."""
    train_cfg = cfg.get('train_cfg') or {}
    length = train_cfg.get('max_epochs') or train_cfg.get('max_iters')
    begin = train_cfg.get('val_begin', 1)
    best = any(hook.get('save_best') for hook in hook_configs(cfg, 'CheckpointHook'))
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
        warn(message)
