"""Looking at the losses of a config and at the hooks that serve them before a training starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import MODELS, DefaultScope

from mmdet_ols.checks.logs import warn
from mmdet_ols.config_tree import (
    constructor_default,
    nested_pairs,
    ols_hooks,
    registered_class,
    type_name,
)
from mmdet_ols.losses.classification_loss import ClassificationLoss
from mmdet_ols.methods.classification_losses import HeadLoss, inspect_heads


def check_losses(cfg: Config) -> None:
    """Compare the losses of this package in a config with their heads and with the hooks.

    Logs which there are, and warns if nothing will roll the soft labels over.

    Raises:
        ValueError: A loss and its head disagree about the number of classes, the background or the
            sigmoid, or the hook counts epochs in an iteration-based loop.
    """
    has_soft_labels = False
    for head, loss, cls, known in _our_losses(cfg):
        has_soft_labels |= cls.has_rolling_state
        name = head.get('type') and type_name(head)
        num_classes = known.settings.num_classes if known else head.get('num_classes')
        background = known.settings.background if known else None
        if num_classes is not None and num_classes != loss.get('num_classes'):
            raise ValueError(
                f'`num_classes` of {cls.__name__} must be that of its head '
                f'({name or "the head"}), but got {loss.get("num_classes")!r} for '
                f'{num_classes}: set num_classes={num_classes} in the loss.'
            )
        told = bool(loss.get('background', constructor_default(cls, 'background')))
        if background is not None and background != told:
            column = 'a' if background else 'no'
            raise ValueError(
                f'`background` of {cls.__name__} must be {background}, since the scores of '
                f'{name or "its head"} have {column} column for the background, but is {told}: set '
                f'background={background} in the loss.'
            )
        if known and known.needs_sigmoid and not known.settings.use_sigmoid:
            raise ValueError(
                f'`use_sigmoid` of {cls.__name__} must be True, since {name} reads its scores '
                'through a sigmoid, but is False: set use_sigmoid=True in the loss, and the '
                '`reduction` of the loss that it replaces.'
            )
        # Seen at a glance: what was meant as FocalLoss's alpha, or kept without `_delete_`.
        settings = ', '.join(f'{key}={value}' for key, value in loss.items() if key != 'type')
        print_log(f'{name or "The model"}: {cls.__name__}({settings})', logger='current')
    if has_soft_labels:
        _check_hooks(cfg)


def _our_losses(
    cfg: Config,
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any], Any, HeadLoss | None]]:
    """Every loss of this package in a model: its head, itself, its class, and what is known of it.

    Losses in heads that the methods do not know are among them, for which that is None; only an
    entry `num_classes` next to them says how many classes there are.
    """
    known = {id(loss.config): loss for loss in inspect_heads(cfg)[0] if loss.is_ours}
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        for head, loss in nested_pairs(cfg.get('model') or {}):
            cls = registered_class(MODELS, loss)
            if isinstance(cls, type) and issubclass(cls, ClassificationLoss):
                yield head, loss, cls, known.get(id(loss))


def _check_hooks(cfg: Config) -> None:
    """Look at what rolls the soft labels over."""
    train_cfg = cfg.get('train_cfg') or {}
    by_iteration = not train_cfg.get('by_epoch', type_name(train_cfg) != 'IterBasedTrainLoop')
    hooks = ols_hooks(cfg)
    if not hooks:
        warn(
            'The model has a loss with online soft labels, but the config has no OLSHook: unless '
            'something of yours calls update_soft_labels(), the soft labels never leave their '
            "start values. Add default_hooks = dict(ols=dict(type='OLSHook')).",
        )
    elif by_iteration and any(hook.get('by_epoch') for hook in hooks):
        raise ValueError(
            "`by_epoch` of OLSHook must not be True, since the config's training loop counts "
            "iterations: leave it out. dict(type='OLSHook') then rolls over after each pass over "
            'the data.'
        )
