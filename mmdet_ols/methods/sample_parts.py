"""What methods that know their samples add to a config, and what takes it out again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mmdet_ols.config_tree import hook_configs, type_name
from mmdet_ols.core.arguments import check_number
from mmdet_ols.methods.changes import add_default_hook, remove_hooks, train_loader
from mmdet_ols.methods.classification_losses import HeadLoss
from mmdet_ols.methods.classifiers import (
    only_head,
    refuse_mixing,
    replace_classifier,
    restore_classifier,
)

if TYPE_CHECKING:
    from mmengine.config import Config

NUMBERED, HOOK = 'NumberedDataset', 'SampleStateHook'
#: Classifier -> the module that registers it.
CLASSIFIERS = dict(
    SampleClassifier='mmdet_ols.models.sample_classifier',
    MCorrectionClassifier='mmdet_ols.models.m_correction_classifier',
)


def add_sample_parts(
    cfg: Config, method: str, loss: Mapping[str, Any], classifier: str = 'SampleClassifier'
) -> None:
    """Let a classifier of MMPretrain learn with a loss that knows its samples.

    Args:
        cfg: The config; it is changed.
        method: Name of the method, for errors.
        loss: `type` of the loss, and the settings that the old one does not have.
        classifier: Class name of the classifier, one of `CLASSIFIERS`.

    Raises:
        ValueError: The config has another model, several heads, no training data, images that are
            mixed before the classifier sees them, or the loss refuses its arguments.
    """
    head_loss = _classifier(cfg, method)
    loader = train_loader(cfg, method)
    head_loss.replace(loss)
    replace_classifier(cfg, classifier, module=CLASSIFIERS[classifier])
    if type_name(loader['dataset']) != NUMBERED:
        loader['dataset'] = dict(type=NUMBERED, dataset=loader['dataset'])
    add_default_hook(cfg, 'samples', dict(type=HOOK))


def _classifier(cfg: Config, method: str) -> HeadLoss:
    """The loss of a classifier that can learn so; see `add_sample_parts`."""
    loss = only_head(cfg, method, plain=False, extended=CLASSIFIERS)
    refuse_mixing(cfg, method)
    return loss


def remove_sample_parts(cfg: Config) -> dict[str, Any]:
    """Take out what `add_sample_parts` has put into a config, except the loss."""
    restore_classifier(cfg)
    loader = cfg.get('train_dataloader') or {}
    dataset = loader.get('dataset')
    if isinstance(dataset, dict) and type_name(dataset) == NUMBERED:
        loader['dataset'] = dataset['dataset']
    hooks = hook_configs(cfg, HOOK)
    if hooks:
        remove_hooks(cfg, hooks)
    return {}


def epochs_for_stages(cfg: Config, method: str) -> int:
    """How many epochs a config has, for a method that begins with some of its parts later.

    Args:
        cfg: The config.
        method: Name of the method, for errors.

    Raises:
        ValueError: The training loop counts no epochs; or the config is none of a classifier that
            can learn so, for which more epochs would be no remedy.
    """
    _classifier(cfg, method)
    max_epochs = (cfg.get('train_cfg') or {}).get('max_epochs')
    if max_epochs is None:
        raise ValueError(
            f"{method} has stages, which begin with epochs, but the config's training loop counts "
            'none: set train_cfg=dict(by_epoch=True, max_epochs=N).'
        )
    return max_epochs


def stage_epoch(max_epochs: int, method: str, option: str, value: float, first: int = 0) -> int:
    """The epoch that a stage begins with, counted from 0.

    Args:
        max_epochs: The epochs of the config.
        method: Name of the method, for errors.
        option: Name of the option, for errors.
        value: A share of the config's epochs, below 1, or a number of epochs that pass before.
        first: The earliest epoch that is possible.

    Raises:
        ValueError: The value is neither, or the stage would never start.
    """
    note = f' of {method}, a share of the epochs below 1 or a number of epochs,'
    check_number(option, value, 'at least 0', note)
    # Rounded first, since 0.29 * 100 is a little less than 29.
    epoch = int(round(max_epochs * value, 6)) if value < 1 else value
    if epoch != int(epoch):
        raise ValueError(
            f'`{option}` of {method} must be a share below 1 or a whole number of epochs, but got '
            f'{value!r}.'
        )
    epoch = max(int(epoch), first) if value < 1 else int(epoch)
    if not first <= epoch < max_epochs:
        raise ValueError(
            f'`{option}` of {method} must lie within the {max_epochs} epochs of the config, from '
            f'{first} to {max_epochs - 1}, or the stage never starts, but got {value!r}: lower it, '
            'give a share below 1, or train longer.'
        )
    return epoch
