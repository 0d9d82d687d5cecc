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
from mmdet_ols.methods.heads import head_rule

#: The entry of a head, and of a loss, that says how many classes there are.
CLASSES = 'num_classes'


def check_losses(cfg: Config) -> None:
    """Compare the losses of this package in a config with their heads and with the hooks.

    Logs which there are, and warns if nothing will roll the soft labels over, or if the alpha of a
    base config's FocalLoss has become that of a method.

    Raises:
        ValueError: A loss and its head disagree about the number of classes, the background, the
            sigmoid or the qualities of boxes, or the hook counts epochs in an iteration-based loop.
    """
    has_soft_labels = False
    for head, loss, cls, known in _our_losses(cfg):
        has_soft_labels |= cls.has_rolling_state
        name = (head.get('type') and type_name(head)) or 'the model'
        _check_classes(name, loss, cls, known.settings.num_classes if known else head.get(CLASSES))
        if known:
            _check_columns(name, loss, cls, known)
        _check_qualities(name, head, loss, cls)
        _warn_of_focal_alpha(name, loss, cls)
        # Seen at a glance: what was kept without `_delete_`.
        settings = ', '.join(f'{key}={value}' for key, value in loss.items() if key != 'type')
        print_log(f'{name}: {cls.__name__}({settings})', logger='current')
    if has_soft_labels:
        _check_hooks(cfg)


def _check_classes(name: str, loss: Mapping[str, Any], cls: Any, num_classes: int | None) -> None:
    if num_classes is not None and num_classes != loss.get(CLASSES):
        raise ValueError(
            f'`num_classes` of {cls.__name__} must be that of its head ({name}), but got '
            f'{loss.get(CLASSES)!r} for {num_classes}: set num_classes={num_classes} in the loss.'
        )


def _check_columns(name: str, loss: Mapping[str, Any], cls: Any, known: HeadLoss) -> None:
    """Compare what loss and head take the scores for."""
    background = known.settings.background
    told = bool(loss.get('background', constructor_default(cls, 'background')))
    if background is not None and background != told:
        column = 'a' if background else 'no'
        remedy = f'set background={background} in the loss'
        if background and known.rule.background == 'softmax':
            remedy = (
                'set use_sigmoid=True in the loss if it stands in for FocalLoss or another loss of '
                'sigmoid scores, and background=True otherwise'
            )
        raise ValueError(
            f'`background` of {cls.__name__} must be {background}, since the scores of {name} have '
            f'{column} column for the background, but is {told}: {remedy}.'
        )
    if known.rule.sigmoid and not known.settings.use_sigmoid:
        raise ValueError(
            f'`use_sigmoid` of {cls.__name__} must be True, since {name} reads its scores through '
            'a sigmoid, but is False: set use_sigmoid=True in the loss, and the `reduction` of the '
            'loss that it replaces.'
        )


def _check_qualities(name: str, head: Mapping[str, Any], loss: Mapping[str, Any], cls: Any) -> None:
    """Compare whether the head sends labels with qualities, and whether the loss takes them."""
    rule = head_rule(registered_class(MODELS, head)) if head.get('type') else None
    refusal = rule and rule.refuses_loss(cls, loss.get('quality_beta'))
    if refusal:
        raise ValueError(f'{name}: {refusal.reason}. {refusal.remedy}')


def _warn_of_focal_alpha(name: str, loss: Mapping[str, Any], cls: Any) -> None:
    if {'alpha', 'gamma'} <= loss.keys() and 'balance' not in loss:
        warn(
            f'{cls.__name__} of {name} has the `gamma` of a focal loss, {loss["gamma"]}, and takes '
            f"alpha={loss['alpha']} as its own, since the alpha of MMDetection's FocalLoss is "
            'called `balance` here. If both come from the FocalLoss of a base config, write '
            '_delete_=True and balance in the loss; if not, write balance=None.'
        )


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
