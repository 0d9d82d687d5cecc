"""Looking into the checkpoint that a run is going to load, before it starts."""

from __future__ import annotations

import logging
from pathlib import Path

from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import Runner, find_latest_checkpoint
from torch import nn

from mmdet_ols.checks.checkpoints import check_fits, load_checkpoint


def check_start(runner: Runner, trained: bool = False) -> None:
    """Look into the checkpoint that a built Runner is going to load, before it starts.

    Args:
        runner: A built Runner, not yet started.
        trained: Whether the checkpoint is to be tested rather than trained on.

    Raises:
        FileNotFoundError: The checkpoint does not exist.
        ValueError: It cannot be loaded safely, or does not fit the model where it has to.
    """
    path = runner._load_from
    if runner._resume and path is None:
        path = find_latest_checkpoint(runner.work_dir)
    # Remote files are MMEngine's to fetch and folders (of DeepSpeed, or of each rank in FSDP) its
    # strategies' to read, under the same rule of safe loading.
    sharded = runner.cfg.get('runner_type') == 'FlexibleRunner' and Path(str(path)).is_dir()
    if path is None or '://' in str(path) or sharded:
        return
    checkpoint = load_checkpoint(path)
    model = runner.model
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    if isinstance(model, nn.Module):  # a strategy may build it later
        use = 'test' if trained else 'resume' if runner._resume else 'start'
        fit = check_fits(model, checkpoint, path, use)
        if str(fit):
            print_log(f'{path} does not fill the whole model:\n{fit}', logger='current')
    # From the config: asking the Runner would build the data sets and the whole training loop.
    max_epochs = (runner.cfg.get('train_cfg') or {}).get('max_epochs')
    if runner._resume and max_epochs and checkpoint.get('meta', {}).get('epoch', 0) >= max_epochs:
        print_log(
            f'{path} has all {max_epochs} epochs behind it: nothing is left to train. To '
            f'train anew, remove {runner.work_dir}; to go on, raise train_cfg.max_epochs.',
            logger='current',
            level=logging.WARNING,
        )
