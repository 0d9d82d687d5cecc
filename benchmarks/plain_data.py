"""The recipes of `plain_comparison.py`, and images that lie on a device as one tensor."""

from __future__ import annotations

import io
import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Recipe:
    """What decides a training, besides data, method and seed."""

    network: str
    epochs: int
    lr: float
    milestones: tuple[int, ...]
    batch_size: int
    weight_decay: float
    nesterov: bool
    crop: int
    padding: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


IMAGENET: dict[str, Any] = dict(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
CIFAR: dict[str, Any] = dict(mean=(125.3, 123.0, 113.9), std=(63.0, 62.1, 66.7))
RECIPES = {
    'cars': Recipe('mobilenetv2', 100, 0.01, (45, 80), 64, 1e-4, False, 128, 0, **IMAGENET),
    'cifar10n': Recipe('resnet29', 300, 0.1, (150, 225), 128, 5e-4, True, 32, 4, **CIFAR),
}


@dataclass
class Images:
    """Images (N, 3, H, W) as uint8, the labels to learn, and the true ones."""

    pixels: Tensor
    labels: Tensor
    clean: Tensor

    def to(self, device: str) -> Images:
        return Images(*(part.to(device) for part in (self.pixels, self.labels, self.clean)))


def read_images(path: Path) -> tuple[Images, Images]:
    """Read and decode the training and the test images of a packed file."""
    with zipfile.ZipFile(path) as archive:
        return _decoded(archive, 'train'), _decoded(archive, 'test')


def _decoded(archive: zipfile.ZipFile, split: str) -> Images:
    content = memoryview(archive.read(f'{split}.bin'))
    told = json.loads(archive.read(f'{split}.json'))
    ends = torch.tensor(told['sizes']).cumsum(0).tolist()
    with ThreadPoolExecutor() as pool:
        pixels = list(pool.map(lambda a, b: _pixels(content[a:b]), [0, *ends[:-1]], ends))
    labels, clean = torch.tensor(told['labels']), torch.tensor(told['clean'])
    return Images(torch.stack(pixels), labels, clean)


def _pixels(content: memoryview) -> Tensor:
    from PIL import Image

    image = Image.open(io.BytesIO(content)).convert('RGB')
    flat = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return flat.reshape(image.height, image.width, 3).permute(2, 0, 1).contiguous()


def cropped(pixels: Tensor, size: int, padding: int, draws: torch.Generator | None) -> Tensor:
    """Crop (and flip) each image at a place of its own, or without random numbers the centre."""
    pixels = F.pad(pixels, [padding] * 4)
    count, _, height, width = pixels.shape
    device = pixels.device
    steps = torch.arange(size, device=device)
    if draws is None:
        top, left = (height - size) // 2, (width - size) // 2
        return pixels[:, :, top : top + size, left : left + size]
    rows, columns = (
        torch.randint(side - size + 1, (count, 1), device=device, generator=draws) + steps
        for side in (height, width)
    )
    flipped = torch.rand(count, 1, device=device, generator=draws) < 0.5
    columns = torch.where(flipped, columns.flip(1), columns)
    index = torch.arange(count, device=device)
    channels = torch.arange(3, device=device)
    return pixels[
        index[:, None, None, None],
        channels[None, :, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]


def normalised(pixels: Tensor, recipe: Recipe) -> Tensor:
    """Scale pixels as the network expects them, channels last."""
    mean, std = (
        torch.tensor(values, device=pixels.device).view(1, 3, 1, 1)
        for values in (recipe.mean, recipe.std)
    )
    return ((pixels.float() - mean) / std).contiguous(memory_format=torch.channels_last)
