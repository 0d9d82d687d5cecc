"""Residual networks for images of 32x32 pixels, with three stages and a last map of 8x8."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from mmdet_ols.core.arguments import check_choice
from mmdet_ols.registry import BaseModule, register_model

#: Output channels and kernel size of each convolution of a block.
Layers = Sequence[tuple[int, int]]


def _conv_bn(
    in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    conv = nn.Conv2d(
        in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False
    )
    return [conv, nn.BatchNorm2d(out_channels)]


class _ResidualBlock(nn.Module):
    """Convolutions with batch norm and a shortcut around them; a ReLU follows their sum."""

    def __init__(self, in_channels: int, layers: Layers, stride: int, groups: int) -> None:
        super().__init__()
        out_channels = layers[-1][0]
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            self.shortcut.extend(_conv_bn(in_channels, out_channels, 1, stride))
        self.residual = nn.Sequential()
        for index, (channels, kernel) in enumerate(layers):
            if index:
                self.residual.append(nn.ReLU(inplace=True))
            if kernel == 1:
                self.residual.extend(_conv_bn(in_channels, channels, kernel))
            else:
                self.residual.extend(_conv_bn(in_channels, channels, kernel, stride, groups))
                stride = 1  # the block's stride is that of its first 3x3 convolution
            in_channels = channels
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.residual(x) + self.shortcut(x))


class _CIFARBackbone(BaseModule):
    """A stem at full resolution, and three stages with the same number of blocks.

    Args:
        depth: Number of layers with weights on the longest path, the classifier included.
        stem: Output channels and kernel size of the first convolution.
        stages: The convolutions of each stage's blocks.
        groups: Number of groups of the 3x3 convolutions of the blocks.
        out_indices: Stages to return the maps of, 0 to 2.
        init_cfg: MMEngine's configuration of the initial weights.
    """

    def __init__(
        self,
        depth: int,
        stem: tuple[int, int],
        stages: Sequence[Layers],
        groups: int,
        out_indices: Sequence[int],
        init_cfg: Any,
    ) -> None:
        super().__init__(init_cfg)
        convs = len(stages) * len(stages[0])
        blocks, rest = divmod(depth - 2, convs)
        if rest or blocks < 1:
            nearest = sorted({convs * max(n, 1) + 2 for n in (blocks, blocks + 1)})
            raise ValueError(
                f'`depth` must be {convs}n + 2, for {len(stages)} stages of n blocks of '
                f'{len(stages[0])} convolutions; the nearest: {nearest}, but got {depth!r}.'
            )
        if not out_indices or not set(out_indices) <= set(range(len(stages))):
            raise ValueError(
                f'`out_indices` must be one or more of the stages {list(range(len(stages)))}, '
                f'but got {out_indices!r}.'
            )
        self.out_indices = tuple(out_indices)
        self.stem = nn.Sequential(*_conv_bn(3, *stem), nn.ReLU(inplace=True))
        self.stages = nn.ModuleList()
        channels = stem[0]
        for index, layers in enumerate(stages):
            stage = nn.Sequential()
            for block in range(blocks):
                stride = 2 if index and not block else 1
                stage.append(_ResidualBlock(channels, layers, stride, groups))
                channels = layers[-1][0]
            self.stages.append(stage)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the maps of the stages in `out_indices` for images of shape (N, 3, H, W)."""
        x = self.stem(x)
        maps = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in self.out_indices:
                maps.append(x)
        return tuple(maps)


@register_model
class CIFARResNet(_CIFARBackbone):
    """The narrow ResNet for CIFAR: 16, 32 and 64 channels, ReLU after each sum.

    For MMPretrain's `ImageClassifier` with `GlobalAveragePooling` and a head of 256 input channels
    (`4 * 4 * base_channels`), or of 64 with basic blocks. The paper names ResNet-29, 56, 74 and
    110 but not their block. Bottlenecks are the default because only they can be 29 layers deep,
    and because the authors' program uses them by default; whether it was run with basic blocks
    for 56, 74 and 110 is not known. Shortcuts between different shapes are 1x1 convolutions, as in
    that program; the original networks (https://arxiv.org/abs/1512.03385, section 4.2) had none.

    Args:
        depth: Number of layers: 9n + 2 with bottlenecks, 6n + 2 with basic blocks.
        block: 'bottleneck' (1x1, 3x3 and 1x1 convolution to four times the channels) or 'basic'
            (two 3x3 convolutions).
        base_channels: Channels of the stem and of the first stage's 3x3 convolutions.
        out_indices: Stages to return the maps of, 0 to 2.
        init_cfg: MMEngine's configuration of the initial weights; without it, convolutions start
            as He et al. draw them (https://arxiv.org/abs/1502.01852, by their output channels).

    Raises:
        ValueError: No network has this depth, or the block or a stage does not exist.
    """

    def __init__(
        self,
        depth: int,
        block: str = 'bottleneck',
        base_channels: int = 16,
        out_indices: Sequence[int] = (2,),
        init_cfg: Any = None,
    ) -> None:
        check_choice('block', block, ('bottleneck', 'basic'))
        widths = [base_channels * 2**stage for stage in range(3)]
        stages = {
            'bottleneck': [[(width, 1), (width, 3), (4 * width, 1)] for width in widths],
            'basic': [[(width, 3), (width, 3)] for width in widths],
        }
        super().__init__(depth, (base_channels, 3), stages[block], 1, out_indices, init_cfg)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')


@register_model
class CIFARResNeXt(_CIFARBackbone):
    """The ResNeXt of three stages for CIFAR; its last map has 1024 channels (29-2x64d, 29-32x4d).

    Unlike the original (https://arxiv.org/abs/1611.05431) it begins with a 1x1 convolution, and
    its blocks widen their 3x3 convolutions by two, not by four: this is what the authors of online
    label smoothing trained. As in their code, weights start as PyTorch draws them.

    Args:
        depth: Number of layers, 9n + 2.
        groups: Number of groups of the 3x3 convolutions.
        width_per_group: Channels per group in the first stage.
        out_indices: Stages to return the maps of, 0 to 2.
        init_cfg: MMEngine's configuration of the initial weights.

    Raises:
        ValueError: No network has this depth, or a stage does not exist.
    """

    def __init__(
        self,
        depth: int = 29,
        groups: int = 2,
        width_per_group: int = 64,
        out_indices: Sequence[int] = (2,),
        init_cfg: Any = None,
    ) -> None:
        widths = [groups * width_per_group * 2**stage for stage in range(3)]
        stages = [[(width, 1), (width, 3), (2 * width, 1)] for width in widths]
        super().__init__(depth, (64, 1), stages, groups, out_indices, init_cfg)
