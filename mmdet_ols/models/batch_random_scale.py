"""Multi-scale training: a new image size every few iterations, the same for a whole batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from mmdet_ols.core.arguments import check_integer
from mmdet_ols.registry import register_model

ONLY_BOXES = (
    '`data_samples` hold masks, segmentation maps or key points, but BatchRandomScale can scale '
    'only images and boxes. Remedy: remove it from `batch_augments` of the data preprocessor.'
)


@register_model
class BatchRandomScale(nn.Module):
    """Scale training batches to a random size, as one of `data_preprocessor.batch_augments`.

    The training process draws the size, so that it can change every few iterations; transforms
    in data loader workers can only draw one per image. MMDetection's `BatchSyncRandomResize` is
    for square batches and stretches others; here one factor scales both sides, and the batch is
    padded to whole strides. The size depends only on the iteration and the run's seed, so all
    processes agree without communicating (unless `randomness.diff_rank_seed` gives each its own
    seed), and a resumed run continues as if it had not been interrupted.

    Args:
        sizes: Lengths of the batch's longer side to draw from, in pixels, all equally likely.
            Load the images at the largest one.
        interval: For how many iterations a size is kept.
        size_divisor: The detector's largest stride. Both sides of a batch are padded to multiples
            of it, at the right and at the bottom.
        pad_value: What to pad with: the preprocessor's `pad_value`.

    Raises:
        ValueError: There is no size, a size or the divisor is not positive, or the interval is
            below 1.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        interval: int = 10,
        size_divisor: int = 32,
        pad_value: float = 0,
    ) -> None:
        super().__init__()
        check_integer('interval', interval)
        check_integer('size_divisor', size_divisor)
        if not sizes or min(sizes) < 1:
            raise ValueError(f'`sizes` must be one or more positive lengths, but got {sizes!r}.')
        self.sizes = tuple(sizes)
        self.interval = interval
        self.size_divisor = size_divisor
        self.pad_value = pad_value

    def extra_repr(self) -> str:
        return f'sizes={self.sizes}, interval={self.interval}, size_divisor={self.size_divisor}'

    def current_size(self) -> int:
        """The size of the iteration that MMEngine's runner is in."""
        import numpy as np
        from mmengine.logging import MessageHub

        runner = MessageHub.get_current_instance()  # restored when a run is resumed
        step = runner.get_info('iter', 0) // self.interval
        generator = np.random.default_rng((runner.get_info('seed', 0), step))
        return self.sizes[generator.integers(len(self.sizes))]

    def forward(self, inputs: Tensor, data_samples: Any) -> tuple[Tensor, Any]:
        """Scale the images, their boxes and the shapes recorded in their data samples.

        Args:
            inputs: Normalised, padded images of shape (N, C, H, W).
            data_samples: MMDetection's data sample of each image, or the one dict of a batch that
                MMYOLO's `yolov5_collate` makes of them; changed in place.

        Returns:
            The images and the data samples.

        Raises:
            ValueError: A sample has more than boxes, such as masks, which cannot be scaled here.
        """
        height, width = inputs.shape[-2:]
        factor = self.current_size() / max(height, width)
        shape = self._padded(height * factor), self._padded(width * factor)
        inputs = self._scale(inputs, factor, shape)
        if isinstance(data_samples, dict):
            if data_samples.keys() != {'bboxes_labels'}:
                raise ValueError(ONLY_BOXES)
            data_samples['bboxes_labels'][:, 2:] *= factor  # after the image and the class
            return inputs, data_samples
        for sample in data_samples:
            if 'gt_sem_seg' in sample or 'masks' in sample.gt_instances:
                raise ValueError(ONLY_BOXES)
            image = tuple(round(side * factor) for side in sample.img_shape)
            sample.set_metainfo(
                dict(
                    img_shape=image,
                    pad_shape=tuple(self._padded(side) for side in image),
                    batch_input_shape=shape,
                )
            )
            if 'scale_factor' in sample:
                scales = tuple(scale * factor for scale in sample.scale_factor)
                sample.set_metainfo(dict(scale_factor=scales))
            for name in ('gt_instances', 'ignored_instances'):
                if name in sample:
                    instances = sample.get(name)
                    instances.bboxes = instances.bboxes * factor
        return inputs, data_samples

    def _padded(self, side: float) -> int:
        """The next multiple of the divisor; a rounding error beyond a multiple does not count."""
        return math.ceil(side / self.size_divisor - 1e-6) * self.size_divisor

    def _scale(self, inputs: Tensor, factor: float, shape: tuple[int, int]) -> Tensor:
        height, width = inputs.shape[-2:]
        if factor != 1:
            # Pad before scaling: if torch is given a size rather than a factor, it stretches the
            # images slightly to fill whole pixels.
            before = [math.ceil(side / factor) + 1 for side in shape]
            inputs = F.pad(
                inputs, (0, before[1] - width, 0, before[0] - height), value=self.pad_value
            )
            inputs = F.interpolate(
                inputs, scale_factor=factor, mode='bilinear', antialias=factor < 1
            )
        height, width = inputs.shape[-2:]
        return F.pad(inputs, (0, shape[1] - width, 0, shape[0] - height), value=self.pad_value)
