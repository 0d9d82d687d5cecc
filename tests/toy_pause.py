"""A hook that keeps a training in the middle until a test has it killed."""

from __future__ import annotations

import time

from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class PauseBeforeSecondEpoch(Hook):
    """Waits, when one epoch is done and saved, unless the training was resumed there."""

    def before_train_epoch(self, runner):
        if runner.epoch == 1 and not runner._resume:
            time.sleep(600)
            raise AssertionError('the training was not killed')
