"""Building all that a run needs before it starts, so that mistakes show while they cost nothing."""

from __future__ import annotations

from mmengine.runner import FlexibleRunner, Runner

from mmdet_ols.checks.building import building_errors


def build_for_training(runner: Runner | FlexibleRunner) -> None:
    """Build the loops, the data, the optimizer and the schedulers of a training.

    `Runner.train` would do it, and then finds them built. They are built in the same order, so that
    the same random numbers are drawn for the same purposes.

    Raises:
        ValueError: Something cannot be built; says where in the config.
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


def build_for_testing(runner: Runner | FlexibleRunner) -> None:
    """Build the loop and the data of a test, which `Runner.test` then finds built.

    Raises:
        ValueError: Something cannot be built; says where in the config.
    """
    if runner._test_loop is not None:
        with building_errors(runner.cfg):
            runner._test_loop = runner.build_test_loop(runner._test_loop)
