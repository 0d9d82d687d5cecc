"""Reading the tree of dicts and lists that a resolved config is."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mmdet_ols.host_imports import host_import_errors

if TYPE_CHECKING:
    from mmengine.config import Config

#: What `constructor_default` returns for a parameter that has to be given.
REQUIRED = inspect.Parameter.empty
#: Where classes come from that are not a user's own.
PACKAGES = ('mmcv', 'mmdet', 'mmdet_ols', 'mmengine', 'mmpretrain', 'mmyolo', 'torch')


def type_name(cfg: Any) -> str:
    """The last part of the name of what a config's `type` asks for; '?' where it names none."""
    kind = cfg.get('type')
    return kind.rpartition('.')[2] if isinstance(kind, str) else getattr(kind, '__name__', '?')


def registered_class(registry: Any, cfg: Mapping[str, Any], scope: str | None = None) -> Any:
    """The class that `type` names, or None if none is registered under that name.

    Args:
        registry: One of MMEngine's root registries.
        cfg: The config; its `type` may be the class itself, as in configs in pure Python.
        scope: Where an unqualified name is looked up first; None means the current default scope.

    Raises:
        ImportError: The host that registers the class cannot be imported; says why.
    """
    kind = cfg.get('type')
    if not isinstance(kind, str):
        return kind
    switched = registry.switch_scope_and_registry(cfg.get('_scope_') or scope)
    with host_import_errors(), switched as scoped:
        try:
            return scoped.get(kind)
        except RuntimeError:  # a dotted name that cannot be imported
            return None


def imported_modules(cfg: Config) -> list[str]:
    """The modules that a config imports (`custom_imports`)."""
    imports = (cfg.get('custom_imports') or {}).get('imports') or []
    return [imports] if isinstance(imports, str) else list(imports)


def imports_package(cfg: Config) -> bool:
    """Whether a config imports this package, or a part of it."""
    return any(name.partition('.')[0] == 'mmdet_ols' for name in imported_modules(cfg))


def set_imports(cfg: Config, imports: list[str]) -> None:
    """Let a config import these modules, and no others."""
    custom_imports = dict(cfg.get('custom_imports') or {}, imports=imports)
    custom_imports.setdefault('allow_failed_imports', False)
    cfg.custom_imports = custom_imports


def import_package(cfg: Config) -> None:
    """Let a config import this package, whose names its dump needs in the hosts' own tools."""
    own = [] if imports_package(cfg) else ['mmdet_ols']
    set_imports(cfg, [*imported_modules(cfg), *own])


def model_config(cfg: Config) -> Any:
    """The model's config; with test-time augmentation, that of the model inside."""
    model = cfg.get('model') or {}
    return model['module'] if isinstance(model.get('module'), dict) else model


def constructor_parameters(cls: Any) -> dict[str, inspect.Parameter]:
    """The parameters of a constructor, those that it hands up to its base classes included.

    A config's `type` may be a function as well; None has no parameters.
    """
    known: dict[str, inspect.Parameter] = {}
    for base in getattr(cls, '__mro__', (cls,)):
        function = vars(base).get('__init__') if isinstance(base, type) else base
        if function is None or base is object:
            continue
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):  # such as one in C
            continue
        plain = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        for parameter in plain:
            known.setdefault(parameter.name, parameter)
        if len(plain) == len(parameters):
            break  # nothing is handed up
    known.pop('self', None)
    return known


def constructor_default(cls: Any, name: str) -> Any:
    """The default of a constructor's parameter.

    Returns:
        The default; `REQUIRED` where there is none; None where there is no such parameter.
    """
    parameter = constructor_parameters(cls).get(name)
    return None if parameter is None else parameter.default


def is_a(cls: Any, name: str) -> bool:
    """Whether a class or one of its bases is called so; the host need not be importable here."""
    return any(base.__name__ == name for base in getattr(cls, '__mro__', ()))


def package_of(cls: Any) -> str:
    """The package that a class is from; '' for what is no class."""
    return getattr(cls, '__module__', '').partition('.')[0]


def is_users(cls: Any) -> bool:
    """Whether a class is neither of this package nor of the hosts, nor of what they stand on."""
    return package_of(cls) not in PACKAGES


def owner_of(cls: Any, method: str) -> Any:
    """The class that the method of a class comes from; None where there is no such method."""
    return next((base for base in cls.__mro__ if method in vars(base)), None)


def nested_dicts(node: Any, path: str = '') -> Iterator[tuple[str, dict]]:
    """Every dict of a nested config with its dotted path, outer ones first.

    Args:
        node: A dict, a list, or anything else, which holds none.
        path: Where it stands.
    """
    children: Any = enumerate(node) if isinstance(node, (list, tuple)) else ()
    if isinstance(node, dict):
        yield path, node
        children = node.items()
    for key, child in children:
        yield from nested_dicts(child, f'{path}.{key}' if path else str(key))


def nested_pairs(node: Any) -> Iterator[tuple[dict, dict]]:
    """Every (dict, dict with a `type` inside it) of a nested config."""
    for _, outer in nested_dicts(node):
        for child in outer.values():
            if isinstance(child, dict) and 'type' in child:
                yield outer, child


def all_hooks(cfg: Config) -> list[Any]:
    """Every hook of a config, the default ones first; None is one that is switched off."""
    return [*(cfg.get('default_hooks') or {}).values(), *(cfg.get('custom_hooks') or [])]


def hook_configs(cfg: Config, name: str) -> list[dict]:
    """The configs of every hook of this name, wherever and however its type is written."""
    hooks = all_hooks(cfg)
    return [hook for hook in hooks if isinstance(hook, dict) and type_name(hook) == name]


def hooks_of_kind(cfg: Config, kind: str) -> dict[str, dict]:
    """The hooks that are of a class or of one derived from it, by where they stand.

    They are looked up in the default scope that holds.
    """
    from mmengine.registry import HOOKS

    default, custom = cfg.get('default_hooks') or {}, cfg.get('custom_hooks') or []
    named = {f'default_hooks.{name}': hook for name, hook in default.items()}
    named |= {f'custom_hooks.{index}': hook for index, hook in enumerate(custom)}
    return {
        name: hook
        for name, hook in named.items()
        if isinstance(hook, dict) and is_a(registered_class(HOOKS, hook), kind)
    }


def ols_hooks(cfg: Config) -> list[dict]:
    """The configs of every OLSHook of a config."""
    return hook_configs(cfg, 'OLSHook')
