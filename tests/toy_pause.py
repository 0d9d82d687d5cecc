"""A hook that keeps a training in the middle until a test lets it go on."""

from __future__ import annotations

import time
from pathlib import Path

from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class PauseBeforeSecondEpoch(Hook):
    """Waits, when one epoch is done and saved, until a file is there."""

    def __init__(self, file):
        self.file = Path(file)

    def before_train_epoch(self, runner):
        while runner.epoch == 1 and not self.file.exists():
            time.sleep(0.1)
