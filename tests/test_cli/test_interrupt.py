"""Ctrl-C or a full disk in the middle of a training: what is kept, and how to go on."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.fileio import LocalBackend
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from toy_classifier import make_classifier

from mmdet_ols.cli import train as tool


@HOOKS.register_module()
class PressesCtrlC(Hook):
    def __init__(self, at):
        self.at = at

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == self.at:
            raise KeyboardInterrupt


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    path = make_classifier(tmp_path_factory.mktemp('greys'))
    text = path.read_text().replace('max_epochs=1', 'max_epochs=2')
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ('at', 'message'),
    [
        (1, 'Interrupted before the first checkpoint, at iteration 1: start again.'),
        (5, r'Interrupted in epoch 2, at iteration 5. The newest checkpoint is {}/epoch_1.pth: '
            'the same command with --resume goes on from there.'),
    ],
)  # fmt: skip
def test_what_is_kept_is_said(config, tmp_path, command, at, message):
    words = [config, '--work-dir', tmp_path]
    hook = ['default_hooks.ctrl.type=PressesCtrlC', f'default_hooks.ctrl.at={at}']
    output = command(tool.main, *words, '--cfg-options', *hook, ok=False)
    assert message.format(tmp_path) in output
    if at > 1:
        output = command(tool.main, *words, '--resume')
        assert 'resumed epoch: 1' in output and (tmp_path / 'epoch_2.pth').exists()


@pytest.mark.parametrize('strict', [False, True])
def test_a_training_that_diverges_says_so_and_what_to_do(config, tmp_path, command, strict):
    rate = '--cfg-options', 'optim_wrapper.optimizer.lr=1e30'
    words = [config, '--work-dir', tmp_path, *rate, *(['--strict'] if strict else [])]
    output = command(tool.main, *words, ok=not strict)
    assert output.count('The training has diverged: after') == 1
    assert 'lower learning rate' in output
    assert (tmp_path / 'epoch_2.pth').exists() != strict


@pytest.mark.parametrize(
    ('kept', 'message'),
    [
        (3, 'the newest whole checkpoint is {}/epoch_1.pth: the same command with --resume'),
        (1, 'no whole checkpoint is left: start again'),  # MMEngine removes the old one first
    ],
)
def test_a_full_disk_is_no_traceback(config, tmp_path, command, monkeypatch, kept, message):
    put = LocalBackend.put

    def put_what_there_is_room_for(self, obj, filepath):
        if Path(filepath).name != 'epoch_2.pth':
            return put(self, obj, filepath)
        put(self, obj[: len(obj) // 2], filepath)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(LocalBackend, 'put', put_what_there_is_room_for)
    options = '--cfg-options', f'default_hooks.checkpoint.max_keep_ckpts={kept}'
    output = command(tool.main, config, '--work-dir', tmp_path, *options, ok=False)
    assert 'No space left on device at iteration' in output and 'Make room for' in output
    assert message.format(tmp_path) in output
    assert not (tmp_path / 'epoch_2.pth').exists()  # which was cut short


def test_a_resumed_run_that_has_no_checkpoint_yet_starts_as_the_config_says(tmp_path):
    """MMEngine would start from random weights: a job that is queued again has to pass --resume."""
    cfg = Config(dict(work_dir=str(tmp_path), load_from='pretrained.pth', resume=False))
    tool.go_on(cfg, 'auto')
    assert (cfg.load_from, cfg.resume) == ('pretrained.pth', False)
    (tmp_path / 'last_checkpoint').write_text('/an/old/place/epoch_1.pth')
    (tmp_path / 'epoch_1.pth').touch()
    tool.go_on(cfg, 'auto')
    assert (cfg.load_from, cfg.resume) == (str(tmp_path / 'epoch_1.pth'), True)
    tool.go_on(cfg, 'another.pth')
    assert (cfg.load_from, cfg.resume) == ('another.pth', True)
