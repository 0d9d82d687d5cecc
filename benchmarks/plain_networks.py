"""Networks of plain PyTorch for `plain_comparison.py`."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from mmdet_ols.models import CIFARResNet

#: Expansion, output channels, blocks and first stride of each stage (Sandler et al., Table 2).
MOBILENET_STAGES = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
    (6, 320, 1, 1),
)  # fmt: skip


class ConvBN(nn.Module):
    """A convolution, batch norm and ReLU6, with the names that MMPretrain gives them."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1,
        activate: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        padding = kernel // 2
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        self.activate = nn.ReLU6(inplace=True) if activate else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.activate(self.bn(self.conv(x)))


class InvertedResidual(nn.Module):
    """A block of MobileNetV2: expand, filter each channel, project."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers = [ConvBN(inputs, hidden, 1)] if expansion > 1 else []
        layers.append(ConvBN(hidden, hidden, 3, stride, groups=hidden))
        layers.append(ConvBN(hidden, outputs, 1, activate=False))
        self.conv = nn.Sequential(*layers)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.adds else self.conv(x)


class MobileNetV2(nn.Module):
    """MobileNetV2 as a feature extractor (https://arxiv.org/abs/1801.04381).

    Its parameters have the names of MMPretrain's, so that MMPretrain's weights can be loaded.
    """

    channels = 1280

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = ConvBN(3, 32, 3, 2)
        inputs = 32
        for number, (expansion, outputs, blocks, stride) in enumerate(MOBILENET_STAGES, 1):
            stage = nn.Sequential()
            for block in range(blocks):
                first = stride if block == 0 else 1
                stage.append(InvertedResidual(inputs, outputs, first, expansion))
                inputs = outputs
            setattr(self, f'layer{number}', stage)
        self.conv2 = ConvBN(inputs, self.channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        for number in range(1, len(MOBILENET_STAGES) + 1):
            x = getattr(self, f'layer{number}')(x)
        return self.conv2(x)


class CIFARNetwork(nn.Module):
    """The paper's ResNet-29 for CIFAR as a feature extractor."""

    channels = 256

    def __init__(self) -> None:
        super().__init__()
        self.body = CIFARResNet(29)

    def forward(self, x: Tensor) -> Tensor:
        (features,) = self.body(x)
        return features


class Classifier(nn.Module):
    """A feature extractor, the mean over positions, dropout, and a linear layer."""

    def __init__(self, backbone: MobileNetV2 | CIFARNetwork, classes: int, dropout: float) -> None:
        super().__init__()
        self.backbone, self.dropout = backbone, nn.Dropout(dropout)
        self.fc = nn.Linear(backbone.channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.dropout(self.backbone(x).mean((2, 3))))


def build(name: str, classes: int, weights: Path | None) -> Classifier:
    """Build a network.

    Args:
        name: 'mobilenetv2' or 'resnet29'.
        classes: Number of classes.
        weights: Checkpoint whose backbone to start from; None starts from random weights.

    Raises:
        ValueError: The checkpoint is not of this network.
    """
    backbone = MobileNetV2() if name == 'mobilenetv2' else CIFARNetwork()
    network = Classifier(backbone, classes, dropout=0.2 if name == 'mobilenetv2' else 0.0)
    if weights is not None:
        content = torch.load(weights, map_location='cpu', weights_only=True)
        content = content.get('state_dict', content)
        start = 'backbone.'
        own = {key[len(start) :]: value for key, value in content.items() if key.startswith(start)}
        missing, _ = backbone.load_state_dict(own, strict=False)
        missing = [key for key in missing if not key.endswith('num_batches_tracked')]
        if missing:
            raise ValueError(
                f'--weights must hold the backbone of {name} under the names of MMPretrain, but '
                f'{weights} has no {start}{missing[0]}.'
            )
    return network
