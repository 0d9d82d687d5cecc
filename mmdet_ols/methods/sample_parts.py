"""What methods that know their samples add to a config, and what takes it out again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mmdet_ols.config_tree import hook_configs, type_name
from mmdet_ols.core.arguments import check_number
from mmdet_ols.methods.changes import add_default_hook, remove_hooks, train_loader
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


class SampleParts:
    """What a classifier of MMPretrain gets that learns with a loss which knows its samples.

    Args:
        cfg: The config.
        method: Name of the method, for errors.

    Raises:
        ValueError: The config has another model, several heads, or images that are mixed before the
            classifier sees them.
    """

    def __init__(self, cfg: Config, method: str) -> None:
        self.cfg, self.method = cfg, method
        self.loss = only_head(cfg, method, plain=False, extended=CLASSIFIERS)
        refuse_mixing(cfg, method)

    def stage_epoch(self, option: str, value: float, first: int = 0) -> int:
        """The epoch that a stage begins with, counted from 0.

        Args:
            option: Name of the option, for errors.
            value: A share of the config's epochs, below 1, or a number of epochs that pass before.
            first: The earliest epoch that is possible.

        Raises:
            ValueError: The value is neither, the stage would never start, or the training loop
                counts no epochs.
        """
        method, max_epochs = self.method, (self.cfg.get('train_cfg') or {}).get('max_epochs')
        if max_epochs is None:
            raise ValueError(
                f"{method} has stages, which begin with epochs, but the config's training loop "
                'counts none: set train_cfg=dict(by_epoch=True, max_epochs=N).'
            )
        note = f' of {method}, a share of the epochs below 1 or a number of epochs,'
        check_number(option, value, 'at least 0', note)
        # Rounded first, since 0.29 * 100 is a little less than 29.
        epoch = int(round(max_epochs * value, 6)) if value < 1 else value
        if epoch != int(epoch):
            raise ValueError(
                f'`{option}` of {method} must be a share below 1 or a whole number of epochs, but '
                f'got {value!r}.'
            )
        epoch = max(int(epoch), first) if value < 1 else int(epoch)
        if not first <= epoch < max_epochs:
            raise ValueError(
                f'`{option}` of {method} must lie within the {max_epochs} epochs of the config, '
                f'from {first} to {max_epochs - 1}, or the stage never starts, but got {value!r}: '
                'lower it, give a share below 1, or train longer.'
            )
        return epoch

    def add(self, loss: Mapping[str, Any], classifier: str = 'SampleClassifier') -> None:
        """Put the loss into the config, and what goes with it.

        Args:
            loss: `type` of the loss, and the settings that the old one does not have.
            classifier: Class name of the classifier, one of `CLASSIFIERS`.

        Raises:
            ValueError: There are no training data, or the loss refuses its arguments.
        """
        loader = train_loader(self.cfg, self.method)
        self.loss.replace(loss)
        replace_classifier(self.cfg, classifier, module=CLASSIFIERS[classifier])
        if type_name(loader['dataset']) != NUMBERED:
            loader['dataset'] = dict(type=NUMBERED, dataset=loader['dataset'])
        add_default_hook(self.cfg, 'samples', dict(type=HOOK))


def remove_sample_parts(cfg: Config) -> dict[str, Any]:
    """Take out what `SampleParts` has put into a config, except the loss."""
    restore_classifier(cfg)
    loader = cfg.get('train_dataloader') or {}
    dataset = loader.get('dataset')
    if isinstance(dataset, dict) and type_name(dataset) == NUMBERED:
        loader['dataset'] = dataset['dataset']
    hooks = hook_configs(cfg, HOOK)
    if hooks:
        remove_hooks(cfg, hooks)
    return {}
