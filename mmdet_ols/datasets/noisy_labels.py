"""Label noise, symmetric or by a map of classes: a known share of the labels is wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import torch

from mmdet_ols.core.arguments import check_number
from mmdet_ols.core.random_streams import generator, seed_of_run
from mmdet_ols.datasets.relabelled import RelabelledDataset
from mmdet_ols.registry import register_dataset

_STREAM = 1405  # tells these draws from others of the same seed


@register_dataset
class NoisyLabelDataset(RelabelledDataset):
    """Gives a random share of the samples of another data set a label of another class.

    Exactly floor(rate * N) of the N samples are drawn, regardless of their class, and each gets one
    of the other K - 1 classes with equal probability. With a `class_map` only samples of classes in
    the map are drawn, floor(rate * M) of these M, and each gets the class that the map names:
    people take a cat for a dog more often than for a ship. The labels are fixed when the data set
    is built, and depend only on the seed: all methods that are trained with one seed learn from the
    same labels, and the samples that are wrong at a low rate are also wrong at a high one.

    Args:
        dataset: The data set with the clean labels, or its config: one class a sample. Put
            `InMemoryDataset` around this one, not into it.
        rate: Share of the samples that are drawn, in [0, 1]; 0 changes nothing.
        seed: Seed of the noise. None takes the seed of the process, MMEngine's `randomness.seed`.
            Set one of the two, or a resumed run draws other labels.
        include_true_class: Draw from all K classes, as some papers do, so that about one in K of
            the drawn samples keeps its label.
        class_map: What the drawn samples of a class are called instead, such as
            `dict(cat='dog', dog='cat', truck='automobile')`, by names or numbers of classes; 'next'
            calls each class the next one, and the last the first. None draws among all classes.

    Attributes:
        clean_labels: The labels before, of shape (N,), int64.
        noisy_labels: The labels after, of shape (N,), int64.
        flipped: Whether they differ, of shape (N,), bool.

    Raises:
        ValueError: The rate is not in [0, 1], the classes are unknown or fewer than 2, a sample
            does not have exactly one of them, or `class_map` names no class or the same one twice.
        TypeError: The data set is an `InMemoryDataset`, or has no pipeline of its own.
    """

    def __init__(
        self,
        dataset: Any,
        rate: float,
        seed: int | None = None,
        include_true_class: bool = False,
        class_map: Mapping[str | int, str | int] | str | None = None,
    ) -> None:
        check_number('rate', rate, 'in [0, 1]')
        super().__init__(dataset)
        clean = self.true_labels()
        self.rate = rate
        self.seed = seed_of_run() if seed is None else seed
        self.source = f'`seed` {self.seed}'
        self.remedy = 'set `seed` of NoisyLabelDataset or randomness.seed to what it was then'
        draws = generator(self.seed, _STREAM)
        noisy = clean.clone()
        if class_map is None:
            drawn = _draw(torch.arange(len(clean)), rate, draws)
            first = 0 if include_true_class else 1
            step = torch.randint(first, len(self.classes), (len(drawn),), generator=draws)
            noisy[drawn] = (clean[drawn] + step) % len(self.classes)
        else:
            if include_true_class:
                raise ValueError(
                    '`include_true_class` must be False with a `class_map`, which names one other '
                    'class for each: leave one of the two out.'
                )
            others = _other_classes(class_map, self.classes)
            mapped = (others[clean] != clean).nonzero().flatten()
            drawn = _draw(mapped, rate, draws)
            noisy[drawn] = others[clean[drawn]]
        self.set_labels(clean, noisy)


def _draw(candidates: torch.Tensor, rate: float, draws: torch.Generator) -> torch.Tensor:
    """The whole part of a share of some samples, in random order."""
    # The decimal number as it is written: as a binary fraction, 0.29 * 100 is less than 29.
    count = math.floor(Fraction(str(rate)) * len(candidates))
    return candidates[torch.randperm(len(candidates), generator=draws)[:count]]


def _other_classes(
    class_map: Mapping[str | int, str | int] | str, classes: Sequence[str]
) -> torch.Tensor:
    """What each class is called instead, of shape (K,), int64; its own number if it is not mapped.

    Raises:
        ValueError: See `NoisyLabelDataset`.
    """
    others = torch.arange(len(classes))
    if class_map == 'next':
        return (others + 1) % len(classes)
    if not isinstance(class_map, Mapping) or not class_map:
        raise ValueError(
            "`class_map` must name a class for others, as dict(cat='dog', dog='cat'), or be "
            f"'next', but got {class_map!r}."
        )
    for key, value in class_map.items():
        one, other = (_class_number(name, classes) for name in (key, value))
        if one == other:
            raise ValueError(
                f'`class_map` must name another class for each, but maps {classes[one]!r} to '
                'itself: leave it out.'
            )
        if others[one] != one:
            raise ValueError(f'`class_map` must name {classes[one]!r} once, but got {class_map!r}.')
        others[one] = other
    return others


def _class_number(name: str | int, classes: Sequence[str]) -> int:
    if name in classes:
        return classes.index(name)
    # Keys of a config are texts.
    number = int(name) if str(name).isdecimal() else -1
    if not 0 <= number < len(classes):
        raise ValueError(
            f'`class_map` must hold classes of the data set, names or numbers below '
            f'{len(classes)}, but got {name!r}: the classes are {", ".join(classes)[:300]}.'
        )
    return number
