"""What `torch.load(weights_only=True)` may call, whichever release of torch keeps the list."""

from __future__ import annotations

import torch

#: From torch 2.6 on, its own list; before, what `mmdet_ols.checks.restricted_loading` exchanges.
KNOWN_TO_TORCH = tuple(map(int, torch.__version__.split('.')[:2])) >= (2, 6)


def allow(values: list) -> None:
    """Allow these for the whole process, where torch can."""
    if KNOWN_TO_TORCH:
        torch.serialization.add_safe_globals(values)


def clear() -> None:
    """Take back what was allowed for the whole process."""
    if KNOWN_TO_TORCH:
        torch.serialization.clear_safe_globals()


def allowed_ids() -> set[int]:
    """Return something that differs wherever other things are allowed."""
    if KNOWN_TO_TORCH:
        return {id(item) for item in torch.serialization.get_safe_globals()}
    return {id(torch.serialization._weights_only_unpickler)}
