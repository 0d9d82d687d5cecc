"""A hook for a training in two processes, which says how many threads its process group has."""

from __future__ import annotations

import atexit
import os
from pathlib import Path

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch.nn.modules.batchnorm import _BatchNorm


@HOOKS.register_module()
class FrozenStatistics(Hook):
    """BatchNorm that neither uses nor updates the statistics of a batch, which is a rank's own."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):  # the loop calls train()
        for module in runner.model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()

    def after_run(self, runner):
        tell_gloo_threads('in training')


def tell_gloo_threads(when):
    """Print how many threads of this process work for a process group (Linux only)."""
    names = [(task / 'comm').read_text() for task in Path('/proc/self/task').iterdir()]
    count = sum(name.startswith('pt_gloo') for name in names)
    print(f'gloo threads {when}: {count}.\n', end='')  # at once: two processes write


if 'TORCHELASTIC_RUN_ID' in os.environ:  # a process of two
    atexit.register(tell_gloo_threads, 'at exit')
