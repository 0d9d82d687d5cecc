"""The hosts' own command lines, which their packages ship, and what they leave in a process."""

import runpy
from pathlib import Path

import torch
from mmengine.logging import MMLogger
from mmengine.visualization import Visualizer


def hosts_train(host):
    """A function that runs train.py of a host's package, with the arguments in `sys.argv`."""
    path = Path(host.__file__).parent / '.mim/tools/train.py'
    return lambda: runpy.run_path(str(path), run_name='__main__')


def weights(folder):
    """The state dict that a run of one epoch has left."""
    return torch.load(folder / 'epoch_1.pth', weights_only=False)['state_dict']


def forget_last_run():
    """Drop the loggers and visualizers of this process, which write into the folder of their run.

    The hosts' visualizers have the same name in each run.
    """
    for kind in (MMLogger, Visualizer, *Visualizer.__subclasses__()):
        kind._instance_dict.clear()
