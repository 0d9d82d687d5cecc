"""Hooks that count epochs, and loops that have none."""

from __future__ import annotations

from typing import Any


def need_epochs(hook: Any, runner: Any) -> None:
    """Refuse a training loop that counts iterations, whose only epoch ends with the training.

    Raises:
        ValueError: The loop is of this kind.
    """
    from mmengine.runner import IterBasedTrainLoop

    if isinstance(runner.train_loop, IterBasedTrainLoop):
        raise ValueError(
            f'{type(hook).__name__} needs an epoch-based loop: train_cfg=dict(by_epoch=True, ...).'
        )
