"""Reading the tree of dicts and lists that a resolved config is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmengine.config import Config


def type_name(cfg: Any) -> str:
    """The last part of the name of what a config's `type` asks for; '?' where it names none."""
    kind = cfg.get('type')
    return kind.rpartition('.')[2] if isinstance(kind, str) else getattr(kind, '__name__', '?')


def registered_class(registry: Any, cfg: dict) -> Any:
    """The class that `type` names, or None; looked up in the current default scope."""
    kind = cfg.get('type')
    if not isinstance(kind, str):
        return kind
    with registry.switch_scope_and_registry(None) as scoped:
        return scoped.get(kind)


def is_a(cls: Any, name: str) -> bool:
    """Whether a class or one of its bases is called so; the host need not be importable here."""
    return any(base.__name__ == name for base in getattr(cls, '__mro__', ()))


def nested_pairs(node: Any) -> Iterator[tuple[dict, dict]]:
    """Every (dict, dict with a `type` inside it) of a nested config."""
    children = node.values() if isinstance(node, dict) else node
    for child in children:
        if isinstance(child, dict):
            if 'type' in child and isinstance(node, dict):
                yield node, child
            yield from nested_pairs(child)
        elif isinstance(child, (list, tuple)):
            yield from nested_pairs(child)


def ols_hooks(cfg: Config) -> list[dict]:
    """The configs of every OLSHook, wherever it stands and however its type is written."""
    hooks = [*(cfg.get('default_hooks') or {}).values(), *(cfg.get('custom_hooks') or [])]
    return [hook for hook in hooks if isinstance(hook, dict) and type_name(hook) == 'OLSHook']
