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
from mmdet_ols.methods.classification_losses import inspect_heads
from mmdet_ols.methods.heads import head_rule


def check_losses(cfg: Config) -> None:
    """Compare the losses of this package in a config with their heads and with the hooks.

    Logs which there are, and warns if nothing will roll the soft labels over, or if the alpha of a
    base config's FocalLoss has become that of a method.

    Raises:
        ValueError: A loss and its head disagree about the number of classes or the background, or
            the hook counts epochs in an iteration-based loop.
    """
    has_soft_labels = False
    for head, loss, cls, num_classes, background in _our_losses(cfg):
        has_soft_labels |= cls.has_rolling_state
        name = head.get('type') and type_name(head)
        if num_classes is not None and num_classes != loss.get('num_classes'):
            raise ValueError(
                f'`num_classes` of {cls.__name__} must be that of its head '
                f'({name or "the head"}), but got {loss.get("num_classes")!r} for '
                f'{num_classes}: set num_classes={num_classes} in the loss.'
            )
        told = bool(loss.get('background', constructor_default(cls, 'background')))
        if background is not None and background != told:
            column = 'a' if background else 'no'
            remedy = f'set background={background} in the loss'
            if background and _may_take_sigmoid(cfg, head):
                remedy = (
                    'set use_sigmoid=True in the loss if it stands in for FocalLoss or another '
                    'loss of sigmoid scores, and background=True otherwise'
                )
            raise ValueError(
                f'`background` of {cls.__name__} must be {background}, since the scores of '
                f'{name or "its head"} have {column} column for the background, but is {told}: '
                f'{remedy}.'
            )
        if {'alpha', 'gamma'} <= loss.keys() and 'balance' not in loss:
            warn(
                f'{cls.__name__} of {name or "the model"} has the `gamma` of a focal loss, '
                f'{loss["gamma"]}, and takes alpha={loss["alpha"]} as its own, since the alpha of '
                "MMDetection's FocalLoss is called `balance` here. If both come from the FocalLoss "
                'of a base config, write _delete_=True and balance in the loss; if not, write '
                'balance=None.'
            )
        # Seen at a glance: what was meant as FocalLoss's alpha, or kept without `_delete_`.
        settings = ', '.join(f'{key}={value}' for key, value in loss.items() if key != 'type')
        print_log(f'{name or "The model"}: {cls.__name__}({settings})', logger='current')
    if has_soft_labels:
        _check_hooks(cfg)


def _may_take_sigmoid(cfg: Config, head: Mapping[str, Any]) -> bool:
    """Whether a head has no column for the background if its loss takes sigmoid scores."""
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        rule = head_rule(registered_class(MODELS, head))
    return rule is not None and rule.background == 'softmax'


def _our_losses(
    cfg: Config,
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any], Any, int | None, bool | None]]:
    """Every loss of this package in a model: its head, itself, its class, and the head's columns.

    Those are the number of classes, and whether there is one for the background. Losses in heads
    that the methods do not know are among them; of those, only an entry `num_classes` next to them
    says how many classes there are.
    """
    known = {id(loss.config): loss.settings for loss in inspect_heads(cfg)[0] if loss.is_ours}
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        for head, loss in nested_pairs(cfg.get('model') or {}):
            cls = registered_class(MODELS, loss)
            if isinstance(cls, type) and issubclass(cls, ClassificationLoss):
                settings = known.get(id(loss))
                if settings is None:
                    yield head, loss, cls, head.get('num_classes'), None
                else:
                    yield head, loss, cls, settings.num_classes, settings.background


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
