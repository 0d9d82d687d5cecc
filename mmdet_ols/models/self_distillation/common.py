"""What the classifiers of this package have in common."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def check_positive(name: str, value: Any) -> None:
    """Raise a ValueError unless an argument is a number above 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise ValueError(f'`{name}` must be a number above 0, but got {value!r}.')


def check_not_negative(name: str, value: Any) -> None:
    """Raise a ValueError unless an argument is a number of 0 or more."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise ValueError(f'`{name}` must be a number, 0 or more, but got {value!r}.')


def check_share(name: str, value: Any) -> None:
    """Raise a ValueError unless an argument is a number in [0, 1]."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ValueError(f'`{name}` must be in [0, 1], but got {value!r}.')


def check_flag(name: str, value: Any) -> None:
    """Raise a ValueError unless an argument is True or False."""
    if not isinstance(value, bool):
        raise ValueError(f'`{name}` must be True or False, but got {value!r}.')


def check_choice(name: str, value: Any, known: tuple[str, ...]) -> None:
    """Raise a ValueError unless an argument is one of the known words."""
    if value not in known:
        raise ValueError(f'`{name}` must be one of {known}, but got {value!r}.')


def loss_weight(head: Any) -> float:
    """The factor of a head's loss, by which what is added to that loss is multiplied too."""
    return getattr(head.loss_module, 'loss_weight', 1.0)


def pooled(features: Tensor) -> Tensor:
    """Features (N, C) in float32 at least: of a map, its mean."""
    features = features.flatten(2).mean(-1) if features.dim() > 2 else features
    return features.to(torch.promote_types(features.dtype, torch.float32))
