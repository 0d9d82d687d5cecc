"""Changes of a config that several methods make."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from mmdet_ols.config_tree import ols_hooks
from mmdet_ols.datasets.tree import passes_over_samples

if TYPE_CHECKING:
    from mmengine.config import Config


def say(message: str, level: int = logging.INFO) -> None:
    """Log a message where the run's other messages go."""
    from mmengine.logging import print_log

    print_log(message, logger='current', level=level)


def train_loader(cfg: Config, method: str) -> Any:
    """The config of the training data's loader.

    Raises:
        ValueError: There is none with a data set; `method` is what needs it.
    """
    loader = cfg.get('train_dataloader') or {}
    if not loader.get('dataset'):
        raise ValueError(
            f'{method} changes the training data, but the config has no `train_dataloader` with a '
            'data set: name one, or choose another method.'
        )
    return loader


def add_default_hook(cfg: Config, name: str, hook: dict[str, Any]) -> None:
    """Add a hook where child configs keep it; `custom_hooks` is replaced by those that set it."""
    cfg.default_hooks = dict(cfg.get('default_hooks') or {}, **{name: hook})


def add_ols_hook(cfg: Config) -> None:
    """Add the hook that rolls the soft labels over, or give arguments to the one that is there."""
    arguments = take_ols_arguments(cfg)
    hooks = ols_hooks(cfg)
    for hook in hooks:
        hook.update(arguments)
    if not hooks:
        add_default_hook(cfg, 'ols', dict(type='OLSHook', **arguments))


def take_ols_arguments(cfg: Config) -> dict[str, Any]:
    """Remove `default_hooks.ols` from a config if it names no type, and return what it holds.

    Those are arguments of the hook that a method adds:
    `--cfg-options default_hooks.ols.interval=12` is merged into the config before.
    """
    hook = (cfg.get('default_hooks') or {}).get('ols')
    if not isinstance(hook, dict) or 'type' in hook:
        return {}
    remove_hooks(cfg, [hook])
    return dict(hook)


def remove_hooks(cfg: Config, unwanted: list[dict]) -> None:
    """Remove these hooks, and the entries that are empty afterwards."""

    def stays(hook: Any) -> bool:
        return not any(hook is other for other in unwanted)

    if 'default_hooks' in cfg:
        cfg.default_hooks = {
            k: hook for k, hook in (cfg.default_hooks or {}).items() if stays(hook)
        }
    if 'custom_hooks' in cfg:
        cfg.custom_hooks = [hook for hook in cfg.custom_hooks or [] if stays(hook)]
    for key in ('default_hooks', 'custom_hooks'):
        if key in cfg and not cfg[key]:
            cfg.pop(key)


def warn_of_repeated_data(cfg: Config) -> None:
    """Say where soft labels wait for several passes over the data, because data are repeated."""
    loader, train_cfg = cfg.get('train_dataloader') or {}, cfg.get('train_cfg') or {}
    passes = passes_over_samples(loader.get('dataset'))
    by_epoch = 'max_epochs' in train_cfg
    # In iterations, an interval that is given has nothing to do with the length of the data.
    given = not by_epoch and any(hook.get('interval') for hook in ols_hooks(cfg))
    if passes > 1 and not given:
        unit = 'every epoch' if by_epoch else 'what OLSHook takes for one pass over the data'
        scale = f', and multiply the epochs of train_cfg and param_scheduler by {passes}'
        say(
            f'A RepeatDataset makes {unit} {passes} passes, so a soft label waits {passes} times '
            'as long for its update as in the paper. To update it after each pass, remove the '
            f'RepeatDataset{scale if by_epoch else ""}.',
            logging.WARNING,
        )
