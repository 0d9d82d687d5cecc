"""Self-attention networks, which weight a pixel's neighbours by their content."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdet_ols.core.arguments import check_choice
from mmdet_ols.registry import BaseModule, register_model

#: Blocks of the five stages; the depth is their sum.
_BLOCKS = {10: (2, 1, 2, 4, 1), 15: (3, 2, 3, 5, 2), 19: (3, 3, 4, 6, 3)}


def _neighbours(x: Tensor, size: int) -> Tensor:
    """Return the `size` x `size` pixels around each pixel, as (N, C, size * size, H * W).

    The borders are reflected.
    """
    windows = F.unfold(F.pad(x, [size // 2] * 4, mode='reflect'), size)
    return windows.unflatten(1, (x.shape[1], size * size))


class SelfAttention(nn.Module):
    """A weighted sum of each pixel's neighbours, with weights computed from the pixels.

    Args:
        in_channels: Number of input channels.
        relation_channels: Channels of the maps that the weights are computed from.
        out_channels: Number of output channels.
        size: Side of the neighbourhood in pixels, odd.
        form: 'pairwise': a neighbour's weight depends on its difference to the pixel, in content
            and position, and the weights sum to one. 'patchwise': all weights of a neighbourhood
            are computed from all of its pixels at once.
        share: Number of output channels that share one weight.
    """

    # The names of the parameters, here and below, are those of the authors' checkpoints.
    def __init__(
        self,
        in_channels: int,
        relation_channels: int,
        out_channels: int,
        size: int,
        form: str,
        share: int = 8,
    ) -> None:
        super().__init__()
        self.size, self.form = size, form
        self.conv1 = nn.Conv2d(in_channels, relation_channels, 1)
        self.conv2 = nn.Conv2d(in_channels, relation_channels, 1)
        self.conv3 = nn.Conv2d(in_channels, out_channels, 1)
        self.weights = out_channels // share
        if form == 'pairwise':
            self.conv_p = nn.Conv2d(2, 2, 1)
            channels = relation_channels + 2, relation_channels, self.weights
        else:
            relations = relation_channels * (1 + size**2)
            channels = relations, self.weights, self.weights * size**2
        self.conv_w = nn.Sequential(
            nn.BatchNorm2d(channels[0]),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels[0], channels[1], 1, bias=False),
            nn.BatchNorm2d(channels[1]),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels[1], channels[2], 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self._aggregate(self.conv3(x), self._attention(x))

    def _attention(self, x: Tensor) -> Tensor:
        """Compute the weights, (N, C / share, size * size, H * W)."""
        pixels = self.conv1(x).flatten(2).unsqueeze(2)
        neighbours = _neighbours(self.conv2(x), self.size)
        if self.form == 'patchwise':
            relations = torch.cat([pixels, neighbours.flatten(1, 2).unsqueeze(2)], 1)
            return self.conv_w(relations).unflatten(1, (self.weights, -1)).squeeze(3)
        position = self.conv_p(_positions(x))
        offsets = position.flatten(2).unsqueeze(2) - _neighbours(position, self.size)
        relations = torch.cat([pixels - neighbours, offsets.expand(len(x), -1, -1, -1)], 1)
        return self.conv_w(relations).softmax(2)

    def _aggregate(self, values: Tensor, attention: Tensor) -> Tensor:
        """Sum the neighbours' values; channel c uses the weights c modulo their number."""
        height, width = values.shape[-2:]
        padded = F.pad(values, [self.size // 2] * 4, mode='reflect')
        padded = padded.unflatten(1, (-1, self.weights))
        attention = attention.unflatten(3, (height, width)).unflatten(2, (self.size, self.size))
        total = torch.zeros_like(values).unflatten(1, (-1, self.weights))
        # Row by row and on views: all neighbours of all pixels at once would take up to 49 times
        # the memory of the map, and autograd would keep them.
        for row, weights in enumerate(attention.unbind(2)):
            neighbours = padded[:, :, :, row : row + height].unfold(4, self.size, 1)
            total = total + (neighbours * weights.movedim(2, -1).unsqueeze(1)).sum(-1)
        return total.flatten(1, 2)


def _positions(x: Tensor) -> Tensor:
    """Return each pixel's column and row, from -1 to 1, in shape (1, 2, H, W)."""
    height, width = x.shape[-2:]
    rows = torch.linspace(-1, 1, height, dtype=x.dtype, device=x.device)
    columns = torch.linspace(-1, 1, width, dtype=x.dtype, device=x.device)
    return torch.stack([columns.expand(height, -1), rows[:, None].expand(-1, width)])[None]


class _SelfAttentionBlock(nn.Module):
    """Self-attention in a quarter of the channels with a shortcut around it; ReLU comes first."""

    def __init__(self, channels: int, size: int, form: str) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.sam = SelfAttention(channels, channels // 16, channels // 4, size, form)
        self.bn2 = nn.BatchNorm2d(channels // 4)
        self.conv = nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(F.relu(self.bn2(self.sam(F.relu(self.bn1(x))))))


@register_model
class SAN(BaseModule):
    """The self-attention network of Zhao et al. (https://arxiv.org/abs/2004.13621).

    For MMPretrain's `ImageClassifier` with `GlobalAveragePooling` and a head of 2048 input
    channels. All layers except the 1x1 convolutions are self-attention, over 3x3 pixels in the
    first stage and 7x7 in the others. It runs wherever PyTorch does, and it loads the checkpoints
    that the authors made with their own kernels: the parameters have the same names.

    Args:
        depth: Number of self-attention layers: 10, 15 or 19.
        form: 'pairwise' or 'patchwise', see `SelfAttention`. The paper on online label smoothing
            does not say which one it used; the default is the one that the authors of SAN name
            first. For ImageNet, SAN-15 has 14.1 M or 16.2 M parameters.
        out_indices: Stages to return the maps of, 0 to 4.
        init_cfg: MMEngine's configuration of the initial weights; without it they start as PyTorch
            draws them, as in the authors' program.

    Raises:
        ValueError: The depth, the form or a stage does not exist.
    """

    def __init__(
        self,
        depth: int = 15,
        form: str = 'pairwise',
        out_indices: Sequence[int] = (4,),
        init_cfg: Any = None,
    ) -> None:
        super().__init__(init_cfg)
        check_choice('depth', depth, _BLOCKS)
        check_choice('form', form, ('pairwise', 'patchwise'))
        stages = len(_BLOCKS[depth])
        if not out_indices or not set(out_indices) <= set(range(stages)):
            raise ValueError(
                f'`out_indices` must be one or more of the stages {list(range(stages))}, '
                f'but got {out_indices!r}.'
            )
        self.out_indices = tuple(out_indices)
        self.conv_in, self.bn_in = nn.Conv2d(3, 64, 1, bias=False), nn.BatchNorm2d(64)
        before = 64
        for index, blocks in enumerate(_BLOCKS[depth]):
            channels, size = (128 * 2**index, 7) if index else (64, 3)
            layers = [_SelfAttentionBlock(channels, size, form) for _ in range(blocks)]
            self.add_module(f'conv{index}', nn.Conv2d(before, channels, 1, bias=False))
            self.add_module(f'layer{index}', nn.Sequential(*layers))
            self.add_module(f'bn{index}', nn.BatchNorm2d(channels))
            before = channels

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the maps of the stages in `out_indices` for images of shape (N, 3, H, W).

        Raises:
            ValueError: The images are so small that a neighbourhood exceeds the last map.
        """
        if min(x.shape[-2:]) < 128:
            raise ValueError(
                'SAN needs images of at least 128 x 128 pixels (its last map is 32 times smaller '
                f'and must be wider than 3), but got {tuple(x.shape[-2:])}. Remedy: resize them.'
            )
        x = F.relu(self.bn_in(self.conv_in(x)))
        maps = []
        for index in range(max(self.out_indices) + 1):
            x = getattr(self, f'conv{index}')(F.max_pool2d(x, 2))
            x = getattr(self, f'layer{index}')(x)
            x = F.relu(getattr(self, f'bn{index}')(x))
            if index in self.out_indices:
                maps.append(x)
        return tuple(maps)
