"""Measuring every training sample in the middle of a run, which stays as it was."""

from __future__ import annotations

import random
from typing import Any, Callable

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from mmdet_ols.core import sample_numbers
from mmdet_ols.evaluation.passes import evaluation_mode, indexed_batches

#: Computes values of a batch, each with a row for each image: (classifier, inputs, data samples).
Measure = Callable[[Any, Tensor, list[Any]], dict[str, Tensor]]


@torch.no_grad()
def measure_samples(
    model: nn.Module,
    dataset: Any,
    training: DataLoader,
    measure: Measure,
    seed: int,
) -> dict[str, Tensor]:
    """Compute values of all samples of a numbered data set, each of them once, in eval mode.

    Args:
        model: The runner's model, wrapped for distributed training or not.
        dataset: A `NumberedDataset` or a copy of one, with the images as they are to be seen.
        training: The loader of the training, whose batch size and workers are taken over.
        measure: What to compute.
        seed: Of the augmentation's random numbers, where it draws any.

    Returns:
        Each value with a row for each sample, in the order of their numbers; float32, on the CPU,
        and the same on all ranks.
    """
    import numpy as np
    from mmengine.dataset import DefaultSampler
    from mmengine.dist import all_reduce, get_rank

    once = Subset(dataset, _first_occurrences(dataset.numbers).tolist())
    loader = DataLoader(
        once,
        batch_size=training.batch_size or 128,
        sampler=DefaultSampler(once, shuffle=False, seed=0),
        num_workers=training.num_workers,
        collate_fn=training.collate_fn,
    )
    measured: dict[str, Tensor] = {}
    with evaluation_mode(model) as classifier:
        # Restored afterwards. A resumed training has to see the same images again.
        random.seed(seed + get_rank())
        np.random.seed((seed + get_rank()) % 2**32)
        torch.manual_seed(seed + get_rank())
        for batch, index in indexed_batches(loader, 'Measuring the training samples'):
            keep = index < len(once)  # the others were added to fill the ranks up
            numbers = sample_numbers(batch['data_samples'])[keep]
            data = classifier.data_preprocessor(batch, False)
            values = measure(classifier, data['inputs'], data['data_samples'])
            for name, value in values.items():
                rows = value.detach().float().cpu()[keep]
                if name not in measured:
                    measured[name] = torch.zeros(dataset.num_samples, *rows.shape[1:])
                measured[name][numbers] = rows
    for value in measured.values():
        all_reduce(value)
    return measured


def _first_occurrences(numbers: Tensor) -> Tensor:
    """The index at which each number occurs first, in order."""
    first: dict[int, int] = {}
    for index, number in enumerate(numbers.tolist()):
        first.setdefault(number, index)
    return torch.tensor(list(first.values()), dtype=torch.int64)
