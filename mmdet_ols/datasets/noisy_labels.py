"""Symmetric label noise: a known share of the training labels is wrong, and stays so."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import torch

from mmdet_ols.datasets.relabelled import RelabelledDataset
from mmdet_ols.datasets.wrapper import generator
from mmdet_ols.registry import register_dataset

_STREAM = 1405  # tells these draws from others of the same seed


@register_dataset
class NoisyLabelDataset(RelabelledDataset):
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
        clean = self.true_labels()
        self.rate = rate
        self.seed = _seed_of_run() if seed is None else seed
        self.source = f'`seed` {self.seed}'
        self.remedy = 'set `seed` of NoisyLabelDataset or randomness.seed to what it was then'
        draws = generator(self.seed, _STREAM)
        # The decimal number as it is written: as a binary fraction, 0.29 * 100 is less than 29.
        count = math.floor(Fraction(str(rate)) * len(clean))
        drawn = torch.randperm(len(clean), generator=draws)[:count]
        first = 0 if include_true_class else 1
        step = torch.randint(first, len(self.classes), (count,), generator=draws)
        noisy = clean.clone()
        noisy[drawn] = (clean[drawn] + step) % len(self.classes)
        self.set_labels(clean, noisy)


def _seed_of_run() -> int:
    """The seed of the first process, which MMEngine gave to `torch.manual_seed`."""
    from mmengine.dist import broadcast_object_list

    seed = [torch.initial_seed()]
    broadcast_object_list(seed)
    return seed[0]
