"""Symmetric label noise: a known share of the training labels is wrong, and stays so."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mmdet_ols.datasets.in_memory import InMemoryDataset
from mmdet_ols.datasets.wrapper import DatasetWrapper, class_labels, generator
from mmdet_ols.registry import register_dataset

if TYPE_CHECKING:
    import numpy as np

RECORD = 'noisy_labels.csv'
_STREAM = 1405  # tells these draws from others of the same seed


@register_dataset
class NoisyLabelDataset(DatasetWrapper):
    """Gives a random share of the samples of another data set a label of a random other class.

    Exactly floor(rate * N) of the N samples are drawn, regardless of their class, and each gets one
    of the other K - 1 classes with equal probability. The labels are fixed when the data set is
    built, and depend only on the seed: all methods that are trained with one seed learn from the
    same labels, and the samples that are wrong at a low rate are also wrong at a high one.

    Args:
        dataset: The data set with the clean labels, or its config: one class a sample. Put
            `InMemoryDataset` around this one, not into it.
        rate: Share of the samples, in [0, 1]; 0 changes nothing.
        seed: Seed of the noise. None takes the seed of the process, MMEngine's `randomness.seed`.
            Set one of the two, or a resumed run draws other labels.
        include_true_class: Draw from all K classes, as some papers do, so that about one in K of
            the drawn samples keeps its label.

    Attributes:
        clean_labels: The labels before, of shape (N,), int64.
        noisy_labels: The labels after, of shape (N,), int64.
        flipped: Whether they differ, of shape (N,), bool.

    Raises:
        ValueError: The rate is not in [0, 1], the classes are unknown or fewer than 2, or a sample
            does not have exactly one of them.
        TypeError: The data set is an `InMemoryDataset`, or has no pipeline of its own.
    """

    clean_labels: np.ndarray
    noisy_labels: np.ndarray
    flipped: np.ndarray

    def __init__(
        self,
        dataset: Any,
        rate: float,
        seed: int | None = None,
        include_true_class: bool = False,
    ) -> None:
        if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 <= rate <= 1:
            raise ValueError(f'`rate` must be a number in [0, 1], but got {rate!r}.')
        super().__init__(dataset)
        if isinstance(self.dataset, InMemoryDataset) or not hasattr(self.dataset, 'pipeline'):
            raise TypeError(
                '`dataset` must be a data set with a pipeline of its own, but got '
                f'{type(self.dataset).__name__}: put it around NoisyLabelDataset instead.'
            )
        classes = self.dataset.metainfo.get('classes')
        if classes is None or len(classes) < 2:
            raise ValueError(
                f'`dataset` must name 2 classes or more, but got {classes!r}: '
                "set metainfo=dict(classes=('cat', 'dog', ...)) in it."
            )
        clean = class_labels(self.dataset)
        if len(clean) and not 0 <= int(clean.min()) <= int(clean.max()) < len(classes):
            raise ValueError(
                f'The labels of `dataset` must be in [0, {len(classes) - 1}], one for each of its '
                f'{len(classes)} classes, but got {int(clean.min())} to {int(clean.max())}.'
            )
        self.rate = rate
        self.seed = _seed_of_run() if seed is None else seed
        draws = generator(self.seed, _STREAM)
        # The decimal number as it is written: as a binary fraction, 0.29 * 100 is less than 29.
        count = math.floor(Fraction(str(rate)) * len(clean))
        drawn = torch.randperm(len(clean), generator=draws)[:count]
        first = 0 if include_true_class else 1
        step = torch.randint(first, len(classes), (count,), generator=draws)
        noisy = clean.clone()
        noisy[drawn] = (clean[drawn] + step) % len(classes)
        self.clean_labels = clean.numpy()
        self.noisy_labels = noisy.numpy()
        self.flipped = (noisy != clean).numpy()

    def __getitem__(self, index: int) -> Any:
        return self.dataset.pipeline(self.get_data_info(index))

    def get_data_info(self, index: int) -> dict[str, Any]:
        """Everything that is known about a sample, with its noisy label."""
        return {**self.dataset.get_data_info(index), 'gt_label': int(self.noisy_labels[index])}

    def get_gt_labels(self) -> np.ndarray:
        """The noisy labels, of shape (N,)."""
        return self.noisy_labels.copy()

    def get_cat_ids(self, index: int) -> list[int]:
        """The noisy label of a sample, as the data sets of MMPretrain return it."""
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
                f'This run of `seed` {self.seed} has other wrong labels than the one that wrote '
                f'{path}: set `seed` of NoisyLabelDataset or randomness.seed to what it was then, '
                'or train in another work_dir.'
            )
        return path


def _seed_of_run() -> int:
    """The seed of the first process, which MMEngine gave to `torch.manual_seed`."""
    from mmengine.dist import broadcast_object_list

    seed = [torch.initial_seed()]
    broadcast_object_list(seed)
    return seed[0]
