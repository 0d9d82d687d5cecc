"""Augmentations of a whole batch of images of one size at once, on their device."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from mmdet_ols.core.arguments import check_integer, check_number
from mmdet_ols.registry import register_transform


class BatchTransform(ABC):
    """Base class of everything that `InMemoryDataset.batch_transforms` can hold."""

    @abstractmethod
    def __call__(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        """Change each image of a batch independently of the others.

        Args:
            images: Batch of shape (B, C, H, W); it is not changed.
            generator: Source of all random numbers, on the images' device; None takes torch's own.

        Returns:
            Batch of shape (B, C, H', W').
        """


@register_transform
class BatchRandomCrop(BatchTransform):
    """Pad each image on its four sides, and crop a square at a random position.

    It draws from the same distribution as MMPretrain's `RandomCrop`: all positions are equally
    likely.

    Args:
        crop_size: Side of the square, in pixels.
        padding: Number of pixels that are added on each side.
        pad_value: Value of the padding.

    Raises:
        ValueError: The crop is not positive, or the padding is negative.
    """

    def __init__(self, crop_size: int, padding: int = 0, pad_value: float = 0) -> None:
        check_integer('crop_size', crop_size)
        check_integer('padding', padding, least=0)
        self.crop_size = crop_size
        self.padding = padding
        self.pad_value = pad_value

    def __call__(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        """See `BatchTransform`.

        Raises:
            ValueError: The padded images are smaller than the crop.
        """
        padded = F.pad(images, (self.padding,) * 4, value=self.pad_value)
        if min(padded.shape[-2:]) < self.crop_size:
            raise ValueError(
                f'`crop_size` must be at most the side of the padded images, '
                f'{min(padded.shape[-2:])}, but got {self.crop_size}: pad more, or crop less.'
            )
        count, channels, height, width = padded.shape
        device, crop = images.device, self.crop_size
        top, left = (
            torch.randint(side - crop + 1, (count, 1, 1), generator=generator, device=device)
            for side in (height, width)
        )
        # A crop is copied row by row, each a run of pixels in the flattened batch: on a CPU that
        # is five times as fast as an index for each pixel.
        first = torch.arange(count * channels, device=device).view(count, channels, 1) * height
        rows = first + top + torch.arange(crop, device=device)
        runs = padded.flatten().unfold(0, crop, 1)
        copied = runs.index_select(0, (rows * width + left).flatten())
        return copied.view(count, channels, crop, crop)


@register_transform
class BatchRandomFlip(BatchTransform):
    """Mirror images from left to right.

    Args:
        prob: Share of the images that are mirrored, in [0, 1].

    Raises:
        ValueError: `prob` is not in [0, 1].
    """

    def __init__(self, prob: float = 0.5) -> None:
        check_number('prob', prob, 'in [0, 1]')
        self.prob = prob

    def __call__(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        """See `BatchTransform`."""
        count, device = len(images), images.device
        flipped = torch.rand(count, generator=generator, device=device) < self.prob
        # Whole images are copied, which torch.where does pixel by pixel.
        both = torch.cat([images, images.flip(-1)])
        return both.index_select(0, torch.arange(count, device=device) + count * flipped)


@register_transform
class BatchCutOut(BatchTransform):
    """Blank out a square of each image, around a pixel that is drawn uniformly.

    The square is clipped at the image's border. Terrance DeVries and Graham W. Taylor, "Improved
    Regularization of Convolutional Neural Networks with Cutout", 2017 (arXiv 1708.04552).

    Args:
        size: Side of the square, in pixels (16 for CIFAR-10, 8 for CIFAR-100).
        fill: Value of the square, one for all channels or one for each, in the order of the batch's
            channels (that of the loaded images, before `to_rgb` of the preprocessor). The original
            blanks to 0 after normalisation: that is the preprocessor's mean. If a value has a
            fractional part, the batch becomes float32, so that the value is exact.

    Raises:
        ValueError: The size is below 1.
    """

    def __init__(self, size: int, fill: float | Sequence[float] = 0) -> None:
        check_integer('size', size)
        self.size = size
        self.fill = torch.tensor(fill, dtype=torch.float32).reshape(-1, 1, 1)
        self._whole = bool((self.fill == self.fill.round()).all())

    def __call__(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        """See `BatchTransform`.

        Raises:
            ValueError: There is neither one fill value nor one for each channel.
        """
        if len(self.fill) not in (1, images.shape[1]):
            raise ValueError(
                f'`fill` must be one value or one for each of the {images.shape[1]} channels, but '
                f'got {len(self.fill)} values.'
            )
        inside = []  # (B, H) and (B, W)
        for side in images.shape[-2:]:
            centre = torch.randint(
                side, (len(images), 1), generator=generator, device=images.device
            )
            from_start = torch.arange(side, device=images.device) - (centre - self.size // 2)
            inside.append((from_start >= 0) & (from_start < self.size))
        square = (inside[0][:, :, None] & inside[1][:, None, :])[:, None]
        fill = self.fill.to(images.device)
        if self._whole:
            fill = fill.to(images.dtype)
        # One of the two products is 0: this is faster than torch.where, and exact.
        return images * ~square + fill * square
