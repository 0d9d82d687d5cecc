"""What the classifiers of this package have in common."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def loss_weight(head: Any) -> float:
    """The factor of a head's loss, by which what is added to that loss is multiplied too."""
    return getattr(head.loss_module, 'loss_weight', 1.0)


def pooled(features: Tensor) -> Tensor:
    """Features (N, C) in float32 at least: of a map, its mean."""
    features = features.flatten(2).mean(-1) if features.dim() > 2 else features
    return features.to(torch.promote_types(features.dtype, torch.float32))
