"""The base class of data sets whose training labels differ from the true ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmdet_ols.datasets.in_memory import InMemoryDataset
from mmdet_ols.datasets.tree import inner_datasets
from mmdet_ols.datasets.wrapper import DatasetWrapper, class_labels

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

RECORD = 'noisy_labels.csv'


class RelabelledDataset(DatasetWrapper):
    """Serves the samples of another data set with labels of its own, and remembers the true ones.

    A class that derives from it computes the labels from `true_labels()` and hands them to
    `set_labels`.

    Args:
        dataset: The data set with the true labels, or its config: one class a sample. Put
            `InMemoryDataset` around this one, not into it.

    Attributes:
        clean_labels: The true labels, of shape (N,), int64.
        noisy_labels: The labels of the training, of shape (N,), int64.
        flipped: Whether they differ, of shape (N,), bool.

    Raises:
        ValueError: The classes are unknown or fewer than 2, or a sample does not have exactly one
            of them.
        TypeError: The data set is an `InMemoryDataset`, or has no pipeline of its own.
    """

    clean_labels: np.ndarray
    noisy_labels: np.ndarray
    flipped: np.ndarray
    #: For errors: what decided the labels, and how to get those of an earlier run.
    source: str
    remedy: str

    def __init__(self, dataset: Any) -> None:
        super().__init__(dataset)
        if isinstance(self.dataset, InMemoryDataset) or not hasattr(self._leaf, 'pipeline'):
            name = type(self).__name__
            raise TypeError(
                '`dataset` must be a data set with a pipeline of its own, but got '
                f'{type(self.dataset).__name__}: put it around {name} instead.'
            )
        classes = self.dataset.metainfo.get('classes')
        if classes is None or len(classes) < 2:
            raise ValueError(
                f'`dataset` must name 2 classes or more, but got {classes!r}: '
                "set metainfo=dict(classes=('cat', 'dog', ...)) in it."
            )
        self.classes = tuple(classes)

    @property
    def _leaf(self) -> Any:
        """The data set that loads the images; a copy of this wrapper may have another one."""
        node = self.dataset
        while len(inner := inner_datasets(node)) == 1:
            (node,) = inner
        return node

    def true_labels(self) -> Tensor:
        """The labels of the inner data set, of shape (N,), int64.

        Raises:
            ValueError: A sample does not have exactly one of the classes.
        """
        labels, count = class_labels(self.dataset), len(self.classes)
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < count:
            raise ValueError(
                f'The labels of `dataset` must be in [0, {count - 1}], one for each of its '
                f'{count} classes, but got {int(labels.min())} to {int(labels.max())}.'
            )
        return labels

    def set_labels(self, clean: Tensor, noisy: Tensor) -> None:
        """Keep the true labels and those of the training, each of shape (N,), int64."""
        self.clean_labels = clean.numpy()
        self.noisy_labels = noisy.numpy()
        self.flipped = (noisy != clean).numpy()

    def __getitem__(self, index: int) -> Any:
        return self._leaf.pipeline(self.get_data_info(index))

    def get_data_info(self, index: int) -> dict[str, Any]:
        """Everything that is known about a sample, with its label of the training."""
        return {**self.dataset.get_data_info(index), 'gt_label': int(self.noisy_labels[index])}

    def get_gt_labels(self) -> np.ndarray:
        """The labels of the training, of shape (N,)."""
        return self.noisy_labels.copy()

    def get_cat_ids(self, index: int) -> list[int]:
        """The label of a sample, as the data sets of MMPretrain return it."""
        return [int(self.noisy_labels[index])]

    def save_record(self, folder: str | Path) -> Path:
        """Write `noisy_labels.csv`: index, clean and noisy label of each sample that was flipped.

        After a run was resumed, call it again to make sure that the labels are the same.

        Args:
            folder: The run's folder.

        Returns:
            Path of the file.

        Raises:
            ValueError: The file is there and holds other labels.
        """
        path = Path(folder, RECORD)
        rows = [
            f'{index},{self.clean_labels[index]},{self.noisy_labels[index]}'
            for index in self.flipped.nonzero()[0]
        ]
        text = '\n'.join(['index,clean_label,noisy_label', *rows, ''])
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        elif path.read_text() != text:
            raise ValueError(
                f'This run of {self.source} has other wrong labels than the one that wrote {path}: '
                f'{self.remedy}, or train in another work_dir.'
            )
        return path
