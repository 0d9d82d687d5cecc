"""Methods of training, as changes of any config of the hosts: one file a method.

A method is written as on the command line, `ols:alpha=0.3,start=zeros` or `cutout+ols`, and applied
to a resolved config by `apply_method`. What it changes is found by the classes of the config's
heads and losses; `docs/detectors.md` lists the heads.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mmdet_ols.config_tree import import_package
from mmdet_ols.core.arguments import check_number
from mmdet_ols.methods import (
    boothard,
    bootsoft,
    byot,
    cutout,
    ddgsd,
    deep_self_learning,
    disturblabel,
    hard,
    l2rw,
    ls,
    m_correction,
    meta_weight_net,
    ols,
    ols_single,
    ols_sparse,
    pairwise_confusion,
    pencil,
    sce,
    tfkd_reg,
    tfkd_self,
)
from mmdet_ols.methods.classification_losses import settings_of_ours
from mmdet_ols.methods.method import Method, NeededRun
from mmdet_ols.methods.spec import MethodSpec, split_methods, unknown

if TYPE_CHECKING:
    from mmengine.config import Config

__all__ = [
    'METHODS',
    'Method',
    'MethodSpec',
    'NeededRun',
    'apply_method',
    'hard_form',
    'parse_method',
]

_MODULES = (
    hard,
    cutout,
    byot,
    ls,
    ols,
    ols_sparse,
    ols_single,
    bootsoft,
    boothard,
    disturblabel,
    sce,
    pairwise_confusion,
    tfkd_reg,
    m_correction,
    pencil,
    deep_self_learning,
    l2rw,
    meta_weight_net,
    ddgsd,
    tfkd_self,
)


def _with_partners(methods: list[Method]) -> dict[str, Method]:
    """Let each method name its partners, of which only one of the two has to know."""
    partners: dict[str, list[str]] = {method.name: [] for method in methods}
    for method in methods:
        for other in method.combines_with:
            partners[method.name].append(other)
            partners[other].append(method.name)
    return {
        method.name: dataclasses.replace(method, combines_with=tuple(partners[method.name]))
        for method in methods
    }


#: name -> method, in the order in which several are applied.
METHODS: dict[str, Method] = _with_partners([module.METHOD for module in _MODULES])


def parse_method(text: str) -> MethodSpec:
    """Read a method as it is written on a command line.

    Args:
        text: NAME, NAME:OPTION=VALUE,OPTION=VALUE, or several of these joined by '+'. Values are
            read as those of `--cfg-options`; texts with special characters stand in quotation
            marks.

    Raises:
        ValueError: A method or an option is not known, a value is malformed, or the methods cannot
            be combined.

    Example:
        >>> parse_method('ols:start=zeros,alpha=0.30').text
        'ols:alpha=0.3,start=zeros'
        >>> parse_method('ols:alpha=0.3+cutout:size=16').slug
        'cutout_size16+ols_alpha0.3'
    """
    return _spec(list(split_methods(text)))


def apply_method(cfg: Config, method: str, **options: Any) -> Config:
    """Return a config that trains with a method, made from any resolved config of the hosts.

    What a config of a method says about that method is kept when the same method is applied again;
    another method replaces it.

    Args:
        cfg: A config of MMDetection, MMPretrain or MMEngine; it is not changed.
        method: See `parse_method`.
        **options: Options of the method, besides those that `method` names.

    Returns:
        A plain and whole config: the hosts' own tools can train it where `mmdet_ols` is installed.
        Its `applied_method` names the method.

    Raises:
        ValueError: See `parse_method`; or the config has a head that cannot learn with the method,
            or an option's value is out of range.

    Example:
        >>> from mmengine.config import Config
        >>> head = dict(type='LinearClsHead', num_classes=10, in_channels=8)
        >>> model = dict(type='ImageClassifier', backbone=dict(type='LeNet5'), head=head)
        >>> cfg = apply_method(Config(dict(default_scope='mmpretrain', model=model)), 'ols')
        >>> cfg.model.head.loss.type, cfg.applied_method
        ('OLSLoss', 'ols')
    """
    parts = list(split_methods(method))
    if options:
        parts = _with_options(parts, options)
    spec = _spec(parts)
    new = copy.deepcopy(cfg)
    earlier = _undo(new)
    spec = _spec([(name, {**earlier.get(name, {}), **given}) for name, given in spec.parts])
    kept = settings_of_ours(new)
    is_hard = [name for name, _ in spec.parts] == ['hard']
    rolls_over = any(METHODS[name].rolls_over for name, _ in spec.parts)
    hard.make_hard(new, refuse=not is_hard, keep_ols_hooks=rolls_over)
    for name, given in spec.parts:
        METHODS[name].apply(new, given, kept)
    new.applied_method = spec.text
    import_package(new)
    return new


def hard_form(cfg: Config) -> Config:
    """What `apply_method(cfg, 'hard')` returns, without a word in the log: for comparing configs.

    Args:
        cfg: A config of MMDetection, MMPretrain or MMEngine; it is not changed.

    Raises:
        ValueError: See `apply_method`.
    """
    new = copy.deepcopy(cfg)
    _undo(new)
    hard.make_hard(new, quiet=True)
    new.applied_method = parse_method('hard').text
    import_package(new)
    return new


def _undo(cfg: Config) -> dict[str, dict[str, Any]]:
    """Take out of a config what its method put there; `hard` takes the losses out.

    Returns:
        The options of each method that was applied: those that were given, and those that were
        changed in the config since.
    """
    text = cfg.get('applied_method')
    options: dict[str, dict[str, Any]] = {}
    for name, given in parse_method(text).parts if text else ():
        method = METHODS[name]
        told = method.undo(cfg) if method.undo is not None else {}
        before = {**method.options, **given}
        changed = {k: told[k] for k in method.options if k in told and told[k] != before[k]}
        options[name] = {**given, **changed}
    return options


def _with_options(
    parts: list[tuple[str, dict[str, Any]]], options: Mapping[str, Any]
) -> list[tuple[str, dict[str, Any]]]:
    """The parts of a method, with options that were given besides the text."""
    parts = [(name, dict(given)) for name, given in parts]
    for key, value in options.items():
        owners = [part for part in parts if key in _method(part[0]).options] or parts[-1:]
        if len(owners) > 1:
            names = ' and '.join(name for name, _ in owners)
            raise ValueError(
                f'The option `{key}` belongs to {names}: write it in the method, as in '
                f'{owners[0][0]}:{key}={value}.'
            )
        owners[0][1][key] = value
    return parts


def _spec(parts: list[tuple[str, dict[str, Any]]]) -> MethodSpec:
    """Check methods and options against what is known, and bring them into one order."""
    for name, given in parts:
        options = _method(name).options
        for key, value in given.items():
            if key not in options:
                raise ValueError(unknown(f'An option of {name!r} must be known', key, options))
            if isinstance(options[key], (int, float)) and not isinstance(options[key], bool):
                # The range is for the method to check.
                remedy = f'for example {name}:{key}={options[key]}'
                check_number(key, value, 'a number', f' of {name}', remedy)
    names = [name for name, _ in parts]
    for i, name in enumerate(names):
        for other in names[:i]:
            if name not in METHODS[other].combines_with:
                allowed = [
                    f'{first}+{second}'
                    for first, second in itertools.combinations(METHODS, 2)
                    if second in METHODS[first].combines_with
                ]
                raise ValueError(
                    f'Methods that are combined must change different things, but got {other!r} '
                    f'with {name!r}: choose one of them. Known combinations: {", ".join(allowed)}.'
                )
    known = list(METHODS)
    ordered = sorted(parts, key=lambda part: known.index(part[0]))
    return MethodSpec(
        tuple(
            (name, {key: given[key] for key in METHODS[name].options if key in given})
            for name, given in ordered
        )
    )


def _method(name: str) -> Method:
    if name not in METHODS:
        raise ValueError(unknown('A method must be known', name, METHODS))
    return METHODS[name]
