"""A part of a data set with the same number of samples from each class."""

from __future__ import annotations

from typing import Any

from mmdet_ols.core.arguments import check_integer
from mmdet_ols.datasets.wrapper import DatasetWrapper, class_labels
from mmdet_ols.registry import register_dataset


@register_dataset
class BalancedSubset(DatasetWrapper):
    """The first samples of each class of another data set, in its order.

    Args:
        dataset: The whole data set, or its config: a plain one of MMPretrain, one class a sample.
        samples_per_class: Number of samples of each class, at least 1.

    Raises:
        ValueError: The number is below 1, a class has fewer samples, or the data set does not name
            its classes or is a wrapper.
    """

    def __init__(self, dataset: Any, samples_per_class: int) -> None:
        check_integer('samples_per_class', samples_per_class)
        super().__init__(dataset)
        classes = self.dataset.metainfo.get('classes')
        if classes is None or not hasattr(self.dataset, 'get_subset_'):
            raise ValueError(
                f'`dataset` must be a plain data set that names its classes, but got '
                f'{type(self.dataset).__name__} with classes {classes!r}: set metainfo=dict('
                "classes=('cat', 'dog', ...)) in it, and put wrappers around BalancedSubset."
            )
        labels = class_labels(self.dataset)
        kept: list[int] = []
        for label in range(len(classes)):
            members = (labels == label).nonzero().flatten().tolist()
            if len(members) < samples_per_class:
                raise ValueError(
                    f'`samples_per_class` must be at most the size of the smallest class, but got '
                    f'{samples_per_class} and class {label} has {len(members)} samples.'
                )
            kept += members[:samples_per_class]
        # In place, so that the samples are renumbered.
        self.dataset.get_subset_(sorted(kept))
