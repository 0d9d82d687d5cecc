"""Evaluating a model in the middle of a run without leaving a trace."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[Any]:
    """Give the bare model in eval mode; afterwards modes and random numbers are as before.

    Args:
        model: The runner's model, in DDP's wrapper or without.
    """
    import numpy as np
    from mmengine.model import is_model_wrapper

    modes = [(module, module.training) for module in model.modules()]
    bare: Any = model.module if is_model_wrapper(model) else model
    python, numpy = random.getstate(), np.random.get_state()
    cuda = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    try:
        # The loaders draw seeds, and transforms may draw.
        with torch.random.fork_rng(cuda):
            model.eval()
            yield bare
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        for module, training in modes:  # not all alike where a stage is frozen
            module.training = training


def placed_batches(loader: Any, text: str) -> Iterator[tuple[dict[str, Any], Tensor]]:
    """Go through a loader with a progress bar.

    MMEngine's samplers deal the data set out to the processes in turn, and repeat some samples
    where that does not come out even.

    Args:
        loader: A data loader that does not shuffle.
        text: What the bar says.

    Yields:
        A batch and the place of each of its samples in the data set. Repeated ones are beyond its
        end, and must not be counted.
    """
    from mmengine.dist import get_dist_info
    from rich.progress import track

    rank, world_size = get_dist_info()
    seen = 0
    for batch in track(loader, text, transient=True, disable=rank > 0):
        size = len(batch['inputs'])
        yield batch, torch.arange(seen, seen + size) * world_size + rank
        seen += size


def labels_of(data_samples: list[Any]) -> Tensor:
    """The one label of each of MMPretrain's data samples, of shape (n,).

    Raises:
        ValueError: There are samples without a label, or with several.
    """
    labels = [sample.get('gt_label') for sample in data_samples]
    if any(label is None or label.numel() != 1 for label in labels):
        raise ValueError('Every sample must have exactly one label (`gt_label`).')
    return torch.cat(labels)
