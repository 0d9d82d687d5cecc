"""A neck for classifiers that drop features before their linear layer."""

from __future__ import annotations

from torch import Tensor, nn

from mmdet_ols.registry import register_model


@register_model
class AvgPoolDropout(nn.Module):
    """A neck that averages over the pixels and drops channels, as torchvision's MobileNetV2 does.

    MMPretrain's `GlobalAveragePooling` and `LinearClsHead` have no dropout.

    Args:
        drop_prob: Share of the channels to drop in training, from 0 to 1.
    """

    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(drop_prob)

    def forward(self, maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Vectors of shape (N, C) for maps of shape (N, C, H, W)."""
        return tuple(self.dropout(x.mean((2, 3))) for x in maps)
