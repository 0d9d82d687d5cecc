"""A few samples of each class with their true labels, held out of the training data."""

from __future__ import annotations

import copy
from typing import Any

import torch

from mmdet_ols.core.arguments import check_choice, check_integer
from mmdet_ols.core.random_streams import generator, seed_of_run
from mmdet_ols.datasets.in_memory import InMemoryDataset
from mmdet_ols.datasets.relabelled import RelabelledDataset
from mmdet_ols.datasets.tree import map_datasets, walk_datasets
from mmdet_ols.datasets.wrapper import DatasetWrapper, class_labels
from mmdet_ols.registry import register_dataset

_STREAM = 1803  # tells these draws from others of the same seed
PARTS = ('rest', 'clean')
#: What wrappers that change labels say about every sample.
_ABOUT_LABELS = ('clean_labels', 'noisy_labels', 'flipped')


@register_dataset
class CleanPartDataset(DatasetWrapper):
    """One of the two parts of a data set: a few samples of each class, or all the others.

    Methods that weigh samples learn the weights from a small clean part. It is drawn by the seed
    and the true labels, and is served with these. The rest is served with the labels of `dataset`,
    some of which `NoisyLabelDataset` or `LabelFileDataset` have changed. These wrappers stand
    inside, and change the labels of all samples: so a sample has the same label in every method of
    a seed, whether that method holds a clean part out or not.

    Args:
        dataset: The data set, or its config: one class a sample. Put `InMemoryDataset` around this
            one, not into it.
        part: 'rest', what is trained on, or 'clean', what is held out.
        samples_per_class: Number of samples of each class in the clean part, at least 1.
        seed: Seed of the draw. None takes the seed of the process, MMEngine's `randomness.seed`.

    Attributes:
        indices: Which samples of `dataset` these are, in its order.
        seed: The seed of the draw.
        has_own_seed: Whether it was given here, and is not that of the process.

    Raises:
        ValueError: An argument is out of range, the classes are unknown, a sample does not have
            exactly one of them, or a class has too few samples to leave one for the training.
        TypeError: There is an `InMemoryDataset` inside.
    """

    def __init__(
        self,
        dataset: Any,
        part: str = 'rest',
        samples_per_class: int = 10,
        seed: int | None = None,
    ) -> None:
        check_choice('part', part, PARTS)
        check_integer('samples_per_class', samples_per_class, note=' of the clean part')
        super().__init__(dataset)
        if any(isinstance(node, InMemoryDataset) for node in walk_datasets(self.dataset)):
            raise TypeError(
                '`dataset` must load each image when it is asked for, but there is an '
                'InMemoryDataset in it: put that around CleanPartDataset instead.'
            )
        self.has_own_seed = seed is not None
        self.seed = seed_of_run() if seed is None else seed
        self._truth = map_datasets(self.dataset, _with_true_labels)
        clean = self._draw(samples_per_class)
        held_out = torch.zeros(len(self.dataset), dtype=torch.bool)
        held_out[clean] = True
        self._parts = {
            'rest': (~held_out).nonzero().flatten().numpy(),
            'clean': held_out.nonzero().flatten().numpy(),
        }
        self._serve(part)

    def _draw(self, samples_per_class: int) -> torch.Tensor:
        """The samples of the clean part."""
        classes = self.dataset.metainfo.get('classes')
        if classes is None:
            raise ValueError(
                '`dataset` must name its classes, but does not: set '
                "metainfo=dict(classes=('cat', 'dog', ...)) in it."
            )
        labels = class_labels(self._truth)
        order = torch.randperm(len(labels), generator=generator(self.seed, _STREAM))
        chosen = []
        for number, name in enumerate(classes):
            members = order[labels[order] == number]
            if len(members) <= samples_per_class:
                remedy = 'take fewer' if len(members) > 1 else 'add samples of this class'
                raise ValueError(
                    f'`samples_per_class` of the clean part must leave every class samples to '
                    f'train on, but got {samples_per_class}, and class {name!r} has '
                    f'{len(members)} samples: {remedy}.'
                )
            chosen.append(members[:samples_per_class])
        return torch.cat(chosen)

    def _serve(self, part: str) -> None:
        self.part, self.indices = part, self._parts[part]
        if part == 'clean':
            self.dataset = self._truth
            return
        for name in _ABOUT_LABELS:
            if hasattr(self.dataset, name):
                setattr(self, name, getattr(self.dataset, name)[self.indices])

    def clean_part(self) -> CleanPartDataset:
        """The other view of the same split: the held-out samples with their true labels."""
        other = copy.copy(self)
        for name in _ABOUT_LABELS:
            vars(other).pop(name, None)
        other._serve('clean')
        return other

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[int(self.indices[index])]

    def get_data_info(self, index: int) -> dict[str, Any]:
        """Everything that is known about a sample."""
        return self.dataset.get_data_info(int(self.indices[index]))

    def get_gt_labels(self) -> Any:
        """The labels of the part, of shape (N,)."""
        return self.dataset.get_gt_labels()[self.indices]

    def get_cat_ids(self, index: int) -> list[int]:
        """The label of a sample, as the data sets of MMPretrain return it."""
        return self.dataset.get_cat_ids(int(self.indices[index]))


def clean_part_of(dataset: Any) -> Any:
    """The clean part that was held out of a built training data set, augmented like the training.

    Args:
        dataset: A tree of data sets with one `CleanPartDataset(part='rest')` in it. Of the wrappers
            around that, only an `InMemoryDataset` is repeated around the clean part.

    Raises:
        ValueError: There is no such data set in the tree, or more than one.
    """
    nodes = list(walk_datasets(dataset))
    rests = [node for node in nodes if isinstance(node, CleanPartDataset) and node.part == 'rest']
    if len(rests) != 1:
        raise ValueError(
            'The training data must have one clean part held out, by '
            "dict(type='CleanPartDataset', part='rest', dataset=...) in "
            f'`train_dataloader.dataset`, but have {len(rests)}.'
        )
    clean = rests[0].clean_part()
    for node in reversed(nodes):
        if isinstance(node, InMemoryDataset) and rests[0] in list(walk_datasets(node)):
            return InMemoryDataset(clean, node.batch_transforms, str(node.images.device))
    return clean


def _with_true_labels(node: Any) -> Any:
    return node.dataset if isinstance(node, RelabelledDataset) else node
