"""Looking at the losses of a config and at the hooks that serve them before a training starts."""

from __future__ import annotations

import logging

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import MODELS, DefaultScope

from mmdet_ols.config_tree import nested_pairs, ols_hooks, registered_class, type_name
from mmdet_ols.losses.classification_loss import ClassificationLoss


def check_losses(cfg: Config) -> None:
    """Compare our losses in a config with their heads and with the hooks.

    Says which there are, and warns if nobody will roll the soft labels over.

    Raises:
        ValueError: A loss and its head disagree about the number of classes, or the hook counts
            epochs in an iteration-based loop.
    """
    found = False
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        for head, loss in nested_pairs(cfg.get('model') or {}):
            cls = registered_class(MODELS, loss)
            if not (isinstance(cls, type) and issubclass(cls, ClassificationLoss)):
                continue
            found |= cls.has_rolling_state
            if 'num_classes' in head and head['num_classes'] != loss.get('num_classes'):
                raise ValueError(
                    f'`num_classes` of {cls.__name__} must be that of its head '
                    f'({head.get("type", "the head")}), but got {loss.get("num_classes")!r} for '
                    f'{head["num_classes"]}: set num_classes={head["num_classes"]} in the loss.'
                )
            # Seen at a glance: what was meant as FocalLoss's alpha, or kept without `_delete_`.
            settings = ', '.join(f'{key}={value}' for key, value in loss.items() if key != 'type')
            print_log(
                f'{head.get("type", "The model")}: {cls.__name__}({settings})', logger='current'
            )
    if not found:
        return
    train_cfg = cfg.get('train_cfg') or {}
    by_iteration = not train_cfg.get('by_epoch', type_name(train_cfg) != 'IterBasedTrainLoop')
    ours = ols_hooks(cfg)
    if not ours:
        print_log(
            'The model has a loss with online soft labels, but the config has no OLSHook: unless '
            'something of yours calls update_soft_labels(), the soft labels never leave their '
            "start values. Add default_hooks = dict(ols=dict(type='OLSHook')).",
            logger='current',
            level=logging.WARNING,
        )
    elif by_iteration and any(hook.get('by_epoch', True) for hook in ours):
        raise ValueError(
            "`by_epoch` of OLSHook must be False, since the config's training loop counts "
            "iterations: set dict(type='OLSHook', by_epoch=False, interval=k), with k the number "
            'of iterations that make one pass over your data.'
        )
