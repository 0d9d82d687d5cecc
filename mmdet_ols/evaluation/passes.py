"""Passes over a data set in the middle of a run that leave the run as it was."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def unwrapped(model: Any) -> nn.Module:
    """The model inside of what distributed training wraps a runner's model in."""
    from mmengine.model import is_model_wrapper

    return model.module if is_model_wrapper(model) else model


def refuse_test_time_augmentation(model: Any, hook: str) -> None:
    """Stop a test that a hook could not follow, before it starts.

    Args:
        model: The runner's model.
        hook: Name of the hook.

    Raises:
        ValueError: The model is tested on several views of each image.
    """
    from mmengine.model import BaseTTAModel

    if isinstance(unwrapped(model), BaseTTAModel):
        raise ValueError(
            f'{hook} measures on the test images as they are, and not with test-time augmentation: '
            'leave --tta out, or take the hook out of `custom_hooks`.'
        )


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[Any]:
    """Put a model into eval mode for a while; modes and random numbers are restored afterwards.

    Args:
        model: The runner's model, wrapped for distributed training or not.

    Yields:
        The model without the wrapper.
    """
    import numpy as np

    modes = [(module, module.training) for module in model.modules()]
    bare = unwrapped(model)
    python, numpy = random.getstate(), np.random.get_state()
    cuda = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    try:
        # Data loaders draw seeds, and transforms may draw random numbers.
        with torch.random.fork_rng(cuda):
            model.eval()
            yield bare
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        for module, training in modes:  # they differ where a stage is frozen
            module.training = training


def indexed_batches(loader: Any, description: str) -> Iterator[tuple[dict[str, Any], Tensor]]:
    """Go through a data loader with a progress bar, and tell which samples a batch holds.

    MMEngine's samplers deal out the data set to the processes in turn, and repeat some samples
    where the data set's size is no multiple of the number of processes.

    Args:
        loader: A data loader that does not shuffle.
        description: Text of the progress bar.

    Yields:
        A batch, and the index of each of its samples in the data set. The indices of repeated
        samples are beyond its end: they must not be counted.
    """
    from mmengine.dist import get_dist_info
    from rich.progress import track

    rank, world_size = get_dist_info()
    start = 0
    for batch in track(loader, description, transient=True, disable=rank > 0):
        size = len(batch['inputs'])
        yield batch, torch.arange(start, start + size) * world_size + rank
        start += size


def ground_truth_labels(data_samples: Sequence[Any]) -> Tensor:
    """The label of each of MMPretrain's data samples, as objects or dicts, of shape (n,).

    Raises:
        ValueError: A sample has no label, or several.
    """
    labels = [sample.get('gt_label') for sample in data_samples]
    if any(label is None or label.numel() != 1 for label in labels):
        raise ValueError('Every sample must have exactly one label (`gt_label`).')
    return torch.cat(labels)
