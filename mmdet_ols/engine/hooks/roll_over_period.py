"""How long the period of online soft labels is, as the training loop and its data have it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from mmdet_ols.datasets.tree import passes_over_samples

#: With fewer roll-overs, online soft labels have gained nothing so far (docs/evidence.md).
ENOUGH = 10


@dataclass(frozen=True)
class Period:
    """The time between two roll-overs.

    Args:
        by_epoch: Whether `interval` counts epochs or iterations.
        interval: Number of epochs or iterations.
    """

    by_epoch: bool
    interval: int

    @property
    def unit(self) -> str:
        """What `interval` counts."""
        return 'epoch' if self.by_epoch else 'iteration'

    def steps_done(self, runner: Any) -> int:
        """How many epochs or iterations of the training are over."""
        return runner.epoch if self.by_epoch else runner.iter

    def number_of(self, step: int) -> int:
        """How many periods are over after `step` epochs or iterations."""
        return step // self.interval


def choose_period(runner: Any, by_epoch: bool | None, interval: int | None) -> Period:
    """Take from the training loop what a user left open, and log what was chosen.

    Args:
        runner: With its training loop built.
        by_epoch: None takes the unit of the loop.
        interval: None takes one epoch, or as many iterations as make one pass over the data.

    Raises:
        ValueError: `by_epoch` is True in an iteration-based loop, or `interval` is None and the
            length of the data is not known.
    """
    from mmengine.runner import IterBasedTrainLoop

    has_epochs = not isinstance(runner.train_loop, IterBasedTrainLoop)
    if by_epoch and not has_epochs:
        raise ValueError(
            '`by_epoch` of OLSHook must be False or left out in an iteration-based loop, which has '
            "no epochs, but got True: dict(type='OLSHook') rolls over after each pass over the "
            'data.'
        )
    by_epoch = has_epochs if by_epoch is None else by_epoch
    one_pass = interval is None and not by_epoch
    if interval is None:
        interval = 1 if by_epoch else iterations_of_one_pass(runner.train_dataloader)
    period = Period(by_epoch, interval)
    _log(runner, period, one_pass)
    return period


def _log(runner: Any, period: Period, one_pass: bool) -> None:
    reason = ', which are one pass over the data' if one_pass else ''
    length = 'epoch' if period == Period(True, 1) else f'{period.interval} {period.unit}s'
    text = f'OLSHook rolls the soft labels over after every {length}{reason}.'
    passes = passes_over_samples(getattr(runner.train_dataloader, 'dataset', None))
    if passes > 1 and (period.by_epoch or one_pass):
        text += f' RepeatDataset puts each sample up to {passes} times into one pass over the data.'
    runner.logger.info(text)
    total = runner.max_epochs if period.by_epoch else runner.max_iters
    if period.interval > total:
        runner.logger.warning(
            f'The soft labels will stay as they start: OLSHook rolls them over after every '
            f'{length}, but the training ends after {total}. Set a smaller `interval` of OLSHook.'
        )
    elif period.number_of(total) < ENOUGH:
        runner.logger.warning(
            'The soft labels begin flat and become sharper with each roll-over, of which this '
            f'training has only {period.number_of(total)}. In trainings of up to ten epochs, OLS '
            'has not been ahead of hard labels so far, and its networks were less sure than they '
            'should be (docs/evidence.md): train longer, or compare both on your data '
            '(tools/compare.py).'
        )


def iterations_of_one_pass(loader: Any) -> int:
    """How many iterations of a data loader go over its data once, all processes together.

    Usually it is the loader's own length. But samplers that never end, as iteration-based loops
    have them, give the length of the whole data set, of which each process sees only a part.

    Raises:
        ValueError: The length is not known.
    """
    from mmengine.dataset import InfiniteSampler
    from mmengine.dist import get_world_size

    try:
        if isinstance(loader, (dict, list, tuple)):  # as some custom loops have
            raise TypeError('it has several data loaders')
        batches = len(loader)
    except TypeError as error:
        raise ValueError(
            '`interval` of OLSHook must be given, since the length of the training data is not '
            f'known ({error}): set interval=k, with k the number of iterations that make one pass '
            'over your data.'
        ) from error
    sampler, batch_size = sampling_of(loader)
    size = _length(getattr(loader, 'dataset', None))
    processes = get_world_size()
    counts_all = processes > 1 and _length(sampler) == size
    if size is not None and (isinstance(sampler, InfiniteSampler) or counts_all):
        batches = math.ceil(size / (batch_size * processes))
    return max(batches, 1)


def sampling_of(loader: Any) -> tuple[Any, int]:
    """The sampler that a data loader takes its samples from, and how many make a batch."""
    batch_sampler = getattr(loader, 'batch_sampler', None)
    # A loader that was given a batch sampler makes a sampler of its own, too, and never uses it.
    sampler = getattr(batch_sampler, 'sampler', getattr(loader, 'sampler', None))
    return sampler, getattr(batch_sampler, 'batch_size', None) or 1


def _length(sized: Any) -> int | None:
    try:
        return len(sized)
    except TypeError:
        return None
