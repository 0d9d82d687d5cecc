"""What a method is made of."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable, Protocol

from mmdet_ols.methods.changes import add_ols_hook, warn_of_repeated_data
from mmdet_ols.methods.classification_losses import find_losses

if TYPE_CHECKING:
    from mmengine.config import Config


#: For each path in a model, the class name of our loss there and its settings.
KeptSettings = Mapping[str, tuple[str, Mapping[str, Any]]]


class Apply(Protocol):
    def __call__(self, cfg: Config, given: Mapping[str, Any], kept: KeptSettings) -> None:
        """Change a resolved config with hard labels in place.

        Args:
            cfg: The config.
            given: The options that were given.
            kept: The settings of our losses that were taken out of the config.
        """


@dataclass(frozen=True)
class NeededRun:
    """Another run whose last checkpoint a method needs when its training starts.

    Attributes:
        method: What that run trains with, for the same config and seed.
        option: The option of the method that names the checkpoint.
        entry: The entry of the config that it becomes.
    """

    method: str
    option: str
    entry: str


@dataclass(frozen=True)
class Method:
    """A method of training, as a change of a host's config.

    Attributes:
        name: As in `--method NAME`.
        summary: What it does, in a line.
        source: Where it was published.
        changes: Which parts of a config it changes.
        options: Each option with its default.
        combines_with: The names of the methods that may be applied together with it.
        rolls_over: Whether its loss keeps a state that OLSHook has to roll over.
        apply: Changes a config.
        undo: Takes out of a config what `apply` put there, other than losses and OLSHook, and
            returns what stood there about the method's options.
        needs: The run that has to be finished before, unless the option that it fills is given.
    """

    name: str
    summary: str
    source: str
    changes: str
    options: Mapping[str, Any]
    apply: Apply = field(repr=False)
    combines_with: tuple[str, ...] = ()
    rolls_over: bool = False
    undo: Callable[[Config], Mapping[str, Any]] | None = field(default=None, repr=False)
    needs: NeededRun | None = None


def options_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The keyword parameters of a function, with their defaults."""
    return {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }


def summary_of(function: Callable[..., Any]) -> str:
    """The first line of a function's docstring."""
    return (inspect.getdoc(function) or '').partition('\n')[0]


def config_method(
    function: Callable[..., None],
    *,
    source: str,
    changes: str,
    undo: Callable[[Config], Mapping[str, Any]] | None = None,
    combines_with: tuple[str, ...] = (),
    needs: NeededRun | None = None,
) -> Method:
    """Make a method that changes more of a config than its losses.

    Args:
        function: Gets a config, which it changes, and the options. Its name is the method's.
        source: See `Method`, as for the arguments after it.
        changes: See `Method`.
        undo: See `Method`.
        combines_with: See `Method`.
        needs: See `Method`.
    """

    def apply(cfg: Config, given: Mapping[str, Any], kept: KeptSettings) -> None:
        function(cfg, **given)

    return Method(
        name=function.__name__,
        summary=summary_of(function),
        source=source,
        changes=changes,
        options=options_of(function),
        apply=apply,
        combines_with=combines_with,
        undo=undo,
        needs=needs,
    )


def loss_method(
    function: Callable[..., dict[str, Any]],
    *,
    loss: str,
    source: str,
    fixed: Mapping[str, Any] | None = None,
    rolls_over: bool = False,
) -> Method:
    """Make a method that replaces every classification loss by one of ours.

    Args:
        function: Gets a `HeadLoss` and the options, and returns the settings of the new loss that
            the old one does not have. Its name is the method's.
        loss: Class name of the new loss.
        source: Where the method was published.
        fixed: What makes the method out of a loss that serves several of them.
        rolls_over: Whether OLSHook has to roll the loss over.
    """

    def apply(cfg: Config, given: Mapping[str, Any], kept: KeptSettings) -> None:
        for head_loss in find_losses(cfg):
            settings = _settings_to_keep(kept.get(head_loss.path), loss, fixed or {})
            options = {key: value for key, value in settings.items() if key in names}
            others = {key: value for key, value in settings.items() if key not in names}
            changes = function(head_loss, **{**options, **given})
            head_loss.replace(dict(type=loss, **(fixed or {}), **changes, **others))
        if rolls_over:
            add_ols_hook(cfg)
            warn_of_repeated_data(cfg)

    names = options_of(function)
    hook = ', and the hook that rolls it over' if rolls_over else ''
    return Method(
        name=function.__name__,
        summary=summary_of(function),
        source=source,
        changes=f'every classification loss ({loss}){hook}',
        options=names,
        apply=apply,
        combines_with=('cutout',),
        rolls_over=rolls_over,
    )


def _settings_to_keep(
    old: tuple[str, Mapping[str, Any]] | None, loss: str, fixed: Mapping[str, Any]
) -> dict[str, Any]:
    """The settings of a loss of ours that are kept when its own method is applied again."""
    if old is None or old[0] != loss:
        return {}
    settings = dict(old[1])
    if any(settings.pop(key, value) != value for key, value in fixed.items()):
        return {}
    return settings
