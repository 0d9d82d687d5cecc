"""A YOLOv3 head whose losses are means over the images of a batch. Importing it needs MMDetection.

A config that uses it imports it: `custom_imports = dict(imports=['mmdet_ols.models.yolo_head'])`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmdet.models.dense_heads import YOLOV3Head
from torch import Tensor

from mmdet_ols.registry import register_model

#: The arguments of the head, and its attributes, that hold its losses.
LOSSES = ('loss_cls', 'loss_conf', 'loss_xy', 'loss_wh')


@register_model
class BatchMeanYOLOV3Head(YOLOV3Head):
    """MMDetection's YOLOv3 head with losses that are divided by the number of images.

    `YOLOV3Head` sums its losses over the batch, so that gradients grow with the batch size. Here
    each loss is the mean over the images of its batch of the sum over cells and scales. The divisor
    is the number of images that are really there, however the batch size is set, and also in a last
    batch that is smaller. With several processes it is the number of images of each one, since DDP
    averages the gradients of the processes.

    Args:
        args: As for `YOLOV3Head`.
        kwargs: As for `YOLOV3Head`; the losses must have `reduction='sum'`.

    Raises:
        ValueError: A loss is not a sum, so that dividing it would be wrong.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in LOSSES:
            reduction = getattr(getattr(self, name), 'reduction', 'sum')
            if reduction != 'sum':
                raise ValueError(
                    f"`{name}` of BatchMeanYOLOV3Head must have reduction='sum', since the head "
                    f'divides it by the number of images, but got {reduction!r}: write '
                    f"reduction='sum' in the config, or use type='YOLOV3Head'."
                )

    def loss_by_feat(
        self,
        pred_maps: Sequence[Tensor],
        batch_gt_instances: list[Any],
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: list[Any] | None = None,
    ) -> dict[str, list[Tensor]]:
        """Compute the losses of a batch, each a list with one value per scale.

        Args:
            pred_maps: The predictions of each scale, of shape (N, anchors * attributes, H, W).
            batch_gt_instances: The annotated objects of each image.
            batch_img_metas: What is known about each image.
            batch_gt_instances_ignore: Objects to ignore; `YOLOV3Head` does not use them.
        """
        sums = super().loss_by_feat(
            pred_maps, batch_gt_instances, batch_img_metas, batch_gt_instances_ignore
        )
        images = len(batch_img_metas)
        return {name: [loss / images for loss in scales] for name, scales in sums.items()}
