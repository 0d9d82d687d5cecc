"""CutOut for pipelines that load one image at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from mmdet_ols.core.arguments import check_integer
from mmdet_ols.registry import register_transform


@register_transform
class CutOutSquare:
    """Blank out a square of every image, around a pixel that is drawn uniformly.

    This is the original CutOut (Terrance DeVries and Graham W. Taylor, 2017, arXiv 1708.04552): the
    square is clipped at all four borders. The hosts' transforms draw other squares. MMDetection's
    `CutOut` draws the upper left corner, so that only the right and the bottom border clip;
    MMPretrain's `Cutout` moves squares that would cross the left or the top border back inside; its
    `RandomErasing` never lets one cross a border. `BatchCutOut` does the same as this transform for
    `InMemoryDataset`.

    Args:
        size: Side of the square, in pixels (112 for ImageNet).
        fill: Value of the square, one for all channels or one for each, in the order of the image's
            channels: BGR as MMCV loads it. The original blanks to 0 after normalisation: that is
            the preprocessor's mean. If a value has a fractional part, the image becomes float32, so
            that the value is exact, and takes four times the memory on its way to the model.

    Raises:
        ValueError: The size is below 1.
    """

    #: InMemoryDataset, which each image passes only once, refuses transforms that say so.
    is_random = True

    def __init__(self, size: int, fill: float | Sequence[float] = 0) -> None:
        check_integer('size', size)
        self.size = size
        self.fill = fill
        values = fill if isinstance(fill, Sequence) else [fill]
        self._whole = all(value == round(value) for value in values)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(size={self.size}, fill={self.fill})'

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Change `results['img']`, of shape (H, W, C) or (H, W).

        Raises:
            ValueError: There is neither one fill value nor one for each channel.
        """
        image = results['img']
        channels = image.shape[2] if image.ndim == 3 else 1
        if isinstance(self.fill, Sequence) and len(self.fill) not in (1, channels):
            raise ValueError(
                f'`fill` must be one value or one for each of the {channels} channels, but got '
                f'{self.fill!r}.'
            )
        image = image.copy() if self._whole else image.astype('float32')
        # PyTorch's random numbers, because each process that loads data has a stream of its own.
        top, left = (int(torch.randint(side, ())) - self.size // 2 for side in image.shape[:2])
        image[max(top, 0) : top + self.size, max(left, 0) : left + self.size] = self.fill
        results['img'] = image
        return results
