"""What to do about a `type` that is not registered."""

from __future__ import annotations

from typing import Any

from mmengine.config import Config

from mmdet_ols.core.suggestions import did_you_mean


def unregistered(kind: str, registry: Any, cfg: Config | None = None) -> str:
    """Say that nothing is registered under a name, and what to do.

    Args:
        kind: The `type` of an entry.
        registry: Of MMEngine, where it was looked up.
        cfg: The config, which may lack a scope.
    """
    names = _registered(registry)
    plain = kind.rpartition('.')[2]
    elsewhere = sorted(name for name in names if name.rpartition('.')[2] == plain)
    start = f'no {registry.name} is registered as {kind!r}'
    if elsewhere:
        scope = elsewhere[0].rpartition('.')[0]
        module = f"custom_imports=dict(imports=['{scope}.{_module(registry)}'])"
        remedy = f'write type={elsewhere[0]!r}' + (f', with {module}' if scope else '')
        return f'{start}, but as {elsewhere[0]!r}: {remedy}.'
    similar = did_you_mean(kind, names)
    no_scope = cfg is not None and not cfg.get('default_scope') and registry.scope == 'mmengine'
    if no_scope and not similar:
        return (
            f"{start}, and the config has no default_scope: set default_scope='mmdet' for a "
            "detector of MMDetection, or 'mmpretrain' for a classifier of MMPretrain."
        )
    return (
        f'{start}{similar}: correct `type`. If it is a class of your own, let the config import '
        "its module: custom_imports=dict(imports=['my_package.my_module'])."
    )


def _registered(registry: Any) -> list[str]:
    """The names in a registry as they can be written there, those of other scopes with these."""
    root = registry
    while root.parent is not None:
        root = root.parent
    names = [*registry.module_dict, *root.module_dict]
    for scope, child in root.children.items():
        if child is not registry:
            names += [f'{scope}.{name}' for name in child.module_dict]
    return names


def _module(registry: Any) -> str:
    """The module of a host that registers what a registry holds."""
    return {'dataset': 'datasets', 'transform': 'datasets.transforms', 'metric': 'evaluation'}.get(
        registry.name, 'models' if registry.name == 'model' else 'engine'
    )
