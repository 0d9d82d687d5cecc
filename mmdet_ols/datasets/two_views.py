"""Two views of every image of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from mmdet_ols.datasets.in_memory import WholeBatch
from mmdet_ols.datasets.wrapper import DatasetWrapper
from mmdet_ols.registry import register_dataset


@register_dataset
class TwoViewDataset(DatasetWrapper):
    """Gives every image of a batch twice, each time with random transforms of its own.

    A batch of B indices becomes 2B samples: the first views of all images, and then the second ones
    in the same order, as `TwoViewClassifier` expects them. Samplers and epochs count images. Each
    view passes the whole pipeline, loading included. Images that lie in memory (`InMemoryDataset`)
    are only augmented twice.

    It has to be the outermost data set of a loader, since only that one is asked for a whole batch.

    Args:
        dataset: The data set that gives one view, or its config.
    """

    def __getitems__(self, indices: Sequence[int]) -> Any:
        """The samples of a batch; PyTorch's data loader asks for them all at once."""
        first, second = self._view(indices), self._view(indices)
        if isinstance(first, WholeBatch):
            images = torch.cat([first.images, second.images])
            return WholeBatch(images, [*first.data_samples, *second.data_samples])
        return [*first, *second]

    def _view(self, indices: Sequence[int]) -> Any:
        whole = getattr(self.dataset, '__getitems__', None)
        if whole is not None:
            return whole(indices)
        return [self.dataset[index] for index in indices]
