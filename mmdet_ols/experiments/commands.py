"""The commands that train and test a run, the same for every executor."""

from __future__ import annotations

import sys
from pathlib import Path

from mmdet_ols.experiments.specification import RunSpec


def command_to_train(spec: RunSpec, folder: Path, resume: bool, trust: bool) -> list[str]:
    """Write the command that trains a run.

    Args:
        spec: The run.
        folder: Its work directory.
        resume: Whether to go on from the newest checkpoint there.
        trust: Whether to load checkpoints that hold more than data.
    """
    words = [spec.config, '--work-dir', str(folder)]
    if spec.amp:
        words.append('--amp')
    if resume:
        words.append('--resume')
    return _command('train', words, spec, trust)


def command_to_test(
    spec: RunSpec, checkpoint: Path, folder: Path, tta: bool, trust: bool
) -> list[str]:
    """Write the command that tests a run.

    Args:
        spec: The run.
        checkpoint: What is tested.
        folder: Where the result goes.
        tta: Whether to test with test-time augmentation.
        trust: Whether to load checkpoints that hold more than data.
    """
    words = [spec.config, str(checkpoint), '--work-dir', str(folder)]
    if tta:
        words.append('--tta')
    return _command('test', words, spec, trust)


def _command(tool: str, words: list[str], spec: RunSpec, trust: bool) -> list[str]:
    if spec.method is not None:
        words += ['--method', spec.method]
    if spec.data_root is not None:
        words += ['--data-root', spec.data_root]
    if trust:
        words.append('--trust-checkpoint')
    words += ['--cfg-options', *spec.options, f'randomness.seed={spec.seed}']
    return [sys.executable, '-m', f'mmdet_ols.cli.{tool}', *words]
