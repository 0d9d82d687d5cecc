"""Building all that a run needs before it starts, so that mistakes show while they cost nothing."""

from __future__ import annotations

from typing import Any

from mmengine.dataset import InfiniteSampler
from mmengine.runner import (
    EpochBasedTrainLoop,
    FlexibleRunner,
    IterBasedTrainLoop,
    Runner,
    TestLoop,
    ValLoop,
)

from mmdet_ols.checks.building import building_errors
from mmdet_ols.checks.logs import warn
from mmdet_ols.engine.hooks.roll_over_period import sampling_of


def build_for_training(runner: Runner | FlexibleRunner) -> None:
    """Build the loops, the data, the optimizer and the schedulers of a training.

    `Runner.train` would do it, and then finds them built. They are built in the same order, so that
    the same random numbers are drawn for the same purposes.

    Raises:
        ValueError: Something cannot be built, or gives no batch or no end of an epoch; says where
            in the config.
    """
    if type(runner).train is not Runner.train or runner._train_loop is None:
        return  # with a strategy, or in an order of its own
    with building_errors(runner.cfg):
        runner._train_loop = runner.build_train_loop(runner._train_loop)
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        runner.scale_lr(runner.optim_wrapper, runner.auto_scale_lr)
        runner.auto_scale_lr = None  # once is enough
        if runner.param_schedulers is not None:
            runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
        if runner._val_loop is not None:
            runner._val_loop = runner.build_val_loop(runner._val_loop)
    _check_length('train_dataloader', runner._train_loop)
    _check_length('val_dataloader', runner._val_loop)


def build_for_testing(runner: Runner | FlexibleRunner) -> None:
    """Build the loop and the data of a test, which `Runner.test` then finds built.

    Raises:
        ValueError: Something cannot be built; says where in the config.
    """
    if runner._test_loop is not None:
        with building_errors(runner.cfg):
            runner._test_loop = runner.build_test_loop(runner._test_loop)
        _check_length('test_dataloader', runner._test_loop)


def _check_length(name: str, loop: Any) -> None:
    """Refuse a data loader that gives nothing, or never ends where an epoch has to end.

    Raises:
        ValueError: It would train nothing, or never end.
    """
    loader = getattr(loop, 'dataloader', None)
    sampler, size = sampling_of(loader)
    if isinstance(sampler, InfiniteSampler):
        if isinstance(loop, (EpochBasedTrainLoop, ValLoop, TestLoop)):
            shuffle = isinstance(loop, EpochBasedTrainLoop)
            or_else = ', or train by iterations, with train_cfg=dict(by_epoch=False, max_iters=N)'
            raise ValueError(
                f'`{name}.sampler` must end with each epoch, but InfiniteSampler never does: write '
                f"sampler=dict(type='DefaultSampler', shuffle={shuffle})"
                f'{or_else if shuffle else ""}.'
            )
        return
    try:
        batches, samples = len(loader), len(loader.dataset)  # type: ignore[arg-type, union-attr]
    except (TypeError, AttributeError):  # of unknown length, or of a user's own kind
        return
    if batches == 0:
        raise ValueError(
            f'`{name}` gives no batch: its data set has {samples} samples, which is less than a '
            f'batch of {size}, and drop_last=True leaves such a rest out. Set a smaller '
            f'{name}.batch_size, or {name}.drop_last=False.'
        )
    batch_sampler = getattr(loader, 'batch_sampler', None)
    rest = samples % size if getattr(batch_sampler, 'drop_last', False) else 0
    if rest and not isinstance(loop, (EpochBasedTrainLoop, IterBasedTrainLoop)):
        warn(
            f'`{name}` leaves out the last {rest} of its {samples} samples, for which '
            f'drop_last=True has no batch, so that they are never tested: set {name}.drop_last='
            'False.',
        )
