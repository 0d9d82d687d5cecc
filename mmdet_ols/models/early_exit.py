"""A classifier on the map of an early stage of a network."""

from __future__ import annotations

from torch import Tensor, nn


class EarlyExit(nn.Module):
    """Turns the map of a stage into features of the last stage's width, and these into scores.

    Three convolutions, each with batch norm and ReLU: 1x1 to a quarter of the width, one whose
    kernel is as large as its stride, and 1x1 to the whole width; then the mean over the map, and a
    linear layer. This is the branch of the OLS authors' deeply supervised networks.

    Args:
        in_channels: Channels of the stage's map.
        out_channels: Channels of the network's last map.
        stride: Kernel size and stride of the second convolution.
        num_classes: Number of classes.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, num_classes: int) -> None:
        super().__init__()
        width = max(out_channels // 4, 1)
        self.stride = stride
        self.convs = nn.Sequential(
            *_conv_bn_relu(in_channels, width, 1),
            *_conv_bn_relu(width, width, stride),
            *_conv_bn_relu(width, out_channels, 1),
        )
        self.fc = nn.Linear(out_channels, num_classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scores (N, num_classes) and features (N, out_channels) of maps (N, C, H, W).

        Raises:
            ValueError: The map is smaller than the kernel.
        """
        if min(x.shape[-2:]) < self.stride:
            raise ValueError(
                f'The map of a stage must be at least {self.stride} pixels wide and high, so that '
                f'its exit can shrink it {self.stride} times, but is {tuple(x.shape[-2:])}: train '
                'on larger images.'
            )
        features = self.convs(x).mean((2, 3))
        return self.fc(features), features


def _conv_bn_relu(in_channels: int, out_channels: int, stride: int) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, out_channels, stride, stride),  # with biases, as the authors' have
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    ]
