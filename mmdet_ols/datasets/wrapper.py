"""The base class of data sets that wrap another one."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import Dataset

#: These would change the inner data set without the wrapper's knowledge.
_NOT_PASSED_ON = ('get_subset', 'get_subset_')


class DatasetWrapper(Dataset):
    """Builds the inner data set, and passes on its attributes unless it has its own.

    Args:
        dataset: The inner data set, or its config.
    """

    def __init__(self, dataset: Any) -> None:
        if isinstance(dataset, dict):
            from mmengine.registry import DATASETS

            dataset = DATASETS.build(dataset)
        if hasattr(dataset, 'full_init'):
            dataset.full_init()
        self.dataset = dataset

    @property
    def pipeline(self) -> Any:
        """That of the inner data set, where hooks that exchange it during a run must put theirs."""
        return self.dataset.pipeline

    @pipeline.setter
    def pipeline(self, pipeline: Any) -> None:
        self.dataset.pipeline = pipeline

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[index]

    def __getattr__(self, name: str) -> Any:
        # Private names are requested before there is a data set, for example by copy().
        if name in _NOT_PASSED_ON:
            raise AttributeError(
                f'{type(self).__name__} has no {name!r}: put what selects samples, such as '
                'KFoldDataset, into it, not around it.'
            )
        if name.startswith('_') or name == 'dataset':
            raise AttributeError(f'{type(self).__name__} has no attribute {name!r}.')
        return getattr(self.dataset, name)


def class_labels(dataset: Any) -> torch.Tensor:
    """The class of every sample, without loading an image.

    Returns:
        Labels of shape (N,), int64.

    Raises:
        ValueError: A sample has no class, or more than one.
    """
    labels = [dataset.get_data_info(index).get('gt_label') for index in range(len(dataset))]
    for index, label in enumerate(labels):
        if not isinstance(label, int) and getattr(label, 'ndim', 1) != 0:
            raise ValueError(
                'The data set must have one class a sample (`gt_label`, an integer), but sample '
                f'{index} has {label!r}: multi-label and unlabelled sets are not supported.'
            )
    return torch.tensor([int(label) for label in labels])
