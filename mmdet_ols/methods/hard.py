"""Hard labels: the config as it stands, made hard where it smooths."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mmdet_ols.config_tree import hook_configs, ols_hooks, registered_class, type_name
from mmdet_ols.losses.classification_loss import ClassificationLoss
from mmdet_ols.methods.changes import remove_hooks, say, take_ols_arguments
from mmdet_ols.methods.classification_losses import HeadLoss, find_losses, inspect_heads
from mmdet_ols.methods.method import KeptSettings, Method, options_of, summary_of
from mmdet_ols.methods.spec import split_methods

if TYPE_CHECKING:
    from mmengine.config import Config


def hard(cfg: Config) -> None:
    """Learn from the labels as they are, with the host's own cross entropy or focal loss.

    `LabelSmoothLoss` and `one_hot_smoother` of the hosts are undone, and so are our own losses and
    the hooks that serve them. Every classification loss is written out in one form, so that two
    configs differ only in their method if and only if their hard forms are equal. Heads that no
    method can change stay as they are, and the log says so.

    Args:
        cfg: The config; it is changed.
    """
    make_hard(cfg)


def make_hard(
    cfg: Config, refuse: bool = False, keep_ols_hooks: bool = False, quiet: bool = False
) -> None:
    """Undo whatever smooths or replaces labels, and write every classification loss in one form.

    Args:
        cfg: The config; it is changed.
        refuse: Whether a head that cannot be changed is an error; else it stays as it is.
        keep_ols_hooks: Whether the hooks that roll soft labels over stay, for a method that needs
            them.
        quiet: Whether the log does not say what is undone and what stays.

    Raises:
        ValueError: A head cannot be changed, or a hook of the config replaces the loss later.
    """
    losses, refused = (find_losses(cfg), []) if refuse else inspect_heads(cfg)
    for head in [] if quiet else refused:
        say(f'{head} It stays as it is.')
    applied = _applied_methods(cfg)
    for loss in losses:
        for key, name in () if quiet else loss.others.items():
            say(
                f'{loss.place} has another loss, {name} in `{key}`, which only its own code knows. '
                'It stays as it is.'
            )
        undone = _make_loss_hard(loss, applied.get('ols', {}).get('loss_scale', 1))
        for what in [] if quiet else undone:
            say(f'{loss.place} learns from hard labels now: {what} is undone.')
    for late in _remove_late_losses(cfg, refuse):
        if not quiet:
            say(f'{late}. It stays as it is.')
    if not keep_ols_hooks:
        take_ols_arguments(cfg)
        remove_hooks(cfg, ols_hooks(cfg))
    cfg.pop('applied_method', None)


def _applied_methods(cfg: Config) -> dict[str, Mapping[str, Any]]:
    """The methods that `apply_method` has applied to a config, with their options."""
    text = cfg.get('applied_method')
    return {} if text is None else dict(split_methods(text))


def _make_loss_hard(loss: HeadLoss, scale: float) -> list[str]:
    """Write the host's own loss for hard labels; returns what smoothed the labels before."""
    settings = loss.settings
    smoothing = [settings.smooths] if settings.smooths else []
    for key, value in loss.smoothers.items():
        smoothing += [f'{key}={value}'] if value else []
        loss.node.pop(key)
    if loss.is_ours and scale != 1:
        settings = dataclasses.replace(settings, loss_weight=settings.loss_weight / scale)
    loss.node[loss.key] = settings.for_host(loss.host)
    return smoothing


def _remove_late_losses(cfg: Config, refuse: bool) -> list[str]:
    """Remove what replaces the loss in a late epoch by one of ours.

    Returns:
        Which losses of the host's replace it, as sentences without an end.

    Raises:
        ValueError: There is one, and `refuse` is set.
    """
    from mmengine.registry import MODELS, DefaultScope

    late, recipes = hook_configs(cfg, 'LateLossHook'), hook_configs(cfg, 'SwitchRecipeHook')
    places = [(hook, hook) for hook in late]
    places += [(hook, step) for hook in recipes for step in hook['schedule']]
    others = []
    for hook, step in places:
        if not isinstance(step.get('loss'), dict):
            continue
        with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
            cls = registered_class(MODELS, step['loss'])
        if isinstance(cls, type) and issubclass(cls, ClassificationLoss):
            step.pop('loss')
            continue
        others.append(
            f"The config's {type_name(hook)} replaces the loss by {type_name(step['loss'])} at "
            f'epoch {step["action_epoch"]}'
        )
        if refuse:
            raise ValueError(f'{others[0]}, which would end the method: remove that.')
    for hook in recipes:
        hook['schedule'] = [step for step in hook['schedule'] if set(step) != {'action_epoch'}]
    empty = [hook for hook in late if 'loss' not in hook]
    remove_hooks(cfg, [*empty, *(hook for hook in recipes if not hook['schedule'])])
    return others


def _apply(cfg: Config, given: Mapping[str, Any], kept: KeptSettings) -> None:
    """Nothing is left to do: every method starts from the hard form."""


METHOD = Method(
    name='hard',
    summary=summary_of(hard),
    source='the hosts',
    changes='what smooths or replaces the labels',
    options=options_of(hard),
    apply=_apply,
)
