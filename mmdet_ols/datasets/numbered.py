"""A number for every training sample, by which a method finds again what it knows about it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Callable

import torch
from torch import Tensor

from mmdet_ols.config_tree import is_a
from mmdet_ols.datasets.in_memory import WholeBatch
from mmdet_ols.datasets.tree import gives_all, inner_datasets
from mmdet_ols.datasets.wrapper import DatasetWrapper, class_labels
from mmdet_ols.registry import register_dataset


@register_dataset
class NumberedDataset(DatasetWrapper):
    """Gives every sample of another data set a number of its own, in `sample_idx`.

    MMPretrain's `PackInputs` packs the number of a sample in its own data set, which repeats where
    `ConcatDataset` joins several. Here the samples of all of them are counted through, in order, as
    the report counts them. A sample that a `RepeatDataset` or a `ClassBalancedDataset` gives
    several times keeps its number, since it has only one label. Put it around all other wrappers.

    Args:
        dataset: The data set, or its config: one class a sample, packed by `PackInputs`.

    Attributes:
        numbers: The number of the sample at each index, of shape (len(self),), int64.
        num_samples: How many different samples there are.

    Raises:
        ValueError: The pipeline does not pack its results; raised when the first sample is loaded.
    """

    def __init__(self, dataset: Any) -> None:
        super().__init__(dataset)
        count = 0

        def count_on(source: Any) -> Tensor:
            nonlocal count
            count += len(source)
            return torch.arange(count - len(source), count)

        self.numbers = gather_values(self.dataset, count_on)
        self.num_samples = count

    @cached_property
    def given_labels(self) -> Tensor:
        """The label that each sample is trained with, by its number; -1 where it never occurs."""
        return self._by_number(gather_values(self.dataset, class_labels))

    @cached_property
    def true_labels(self) -> Tensor | None:
        """The true label of each sample, by its number; None where no labels were changed."""
        known: list[bool] = []

        def true_labels(source: Any) -> Tensor:
            clean = getattr(source, 'clean_labels', None)
            known.append(clean is not None)
            return class_labels(source) if clean is None else torch.as_tensor(clean)

        labels = gather_values(self.dataset, true_labels)
        return self._by_number(labels) if any(known) else None

    def _by_number(self, values: Tensor) -> Tensor:
        ordered = torch.full((self.num_samples,), -1, dtype=torch.int64)
        ordered[self.numbers] = values
        return ordered

    def __getitem__(self, index: int) -> Any:
        packed = self.dataset[index]
        if not isinstance(packed, dict) or 'data_samples' not in packed:
            raise ValueError(
                "The pipeline of `dataset` must end with dict(type='PackInputs'), but sample "
                f'{index} left it as {type(packed).__name__} without `data_samples`.'
            )
        _write_number(packed['data_samples'], int(self.numbers[index]))
        return packed

    def __getitems__(self, indices: Sequence[int]) -> Any:
        """The samples of a batch, at once where the data set inside gives them so."""
        if not hasattr(self.dataset, '__getitems__'):
            return [self[index] for index in indices]
        batch = self.dataset.__getitems__(indices)
        samples = (
            batch.data_samples
            if isinstance(batch, WholeBatch)
            else [item['data_samples'] for item in batch]
        )
        for index, sample in zip(indices, samples):
            _write_number(sample, int(self.numbers[index]))
        return batch

    def get_data_info(self, index: int) -> dict[str, Any]:
        """Everything that is known about a sample, with its number."""
        return {**self.dataset.get_data_info(index), 'sample_idx': int(self.numbers[index])}


def gather_values(dataset: Any, values: Callable[[Any], Tensor]) -> Tensor:
    """One value for each index of a tree of built data sets.

    Args:
        dataset: The data set, or a wrapper of one or several.
        values: Gives the values of a source, one for each of its samples. Sources are what
            `sources_of_samples` names, and asked for in that order.
    """
    if not gives_all(dataset):
        return values(dataset)
    inside = torch.cat([gather_values(item, values) for item in inner_datasets(dataset)])
    if is_a(type(dataset), 'RepeatDataset'):
        return inside.repeat(dataset.times)
    if is_a(type(dataset), 'ClassBalancedDataset'):
        return inside[dataset.repeat_indices]
    return inside


def _write_number(sample: Any, number: int) -> None:
    sample.set_field(number, 'sample_idx', field_type='metainfo')
