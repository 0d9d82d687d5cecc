"""`--method` trains a config of the host with a method; the run can be tested and resumed."""

from __future__ import annotations

import re
from pathlib import Path

import mmpretrain
import pytest
import torch
from hosts_tools import hosts_train, weights
from torch.testing import assert_close
from toy_lenet import write_lenet

from mmdet_ols.cli import test, train


@pytest.fixture
def lenet(tmp_path, monkeypatch):
    """Where the work directories lie, and the arguments of a config that knows no method."""
    monkeypatch.chdir(tmp_path)
    config, data = write_lenet(tmp_path)
    return config, '--data-root', data


def accuracies(output):
    return re.findall(r'accuracy/top1: ([\d.]+)', output)


def test_training_testing_and_resuming_with_a_method(lenet, command):
    output = command(train.main, *lenet, '--method', 'ols:alpha=0.3')
    work_dir = Path('work_dirs/lenet_ols_alpha0.3')
    assert [path.name for path in Path('work_dirs').iterdir()] == [work_dir.name]
    saved = work_dir / 'epoch_1.pth'
    assert any(key.endswith('soft_labels') for key in weights(work_dir))
    method = ('--method', 'ols:alpha=0.3')
    tested = command(test.main, *lenet, saved, *method, '--work-dir', 'tested')
    assert accuracies(tested) == accuracies(output) != []
    assert 'left out' not in tested  # the model is the same

    more = ('--resume', '--work-dir', work_dir, '--cfg-options', 'train_cfg.max_epochs=2')
    refused = command(train.main, *lenet, '--method', 'ls', *more, ok=False)
    assert re.search(r'made with --method ols:alpha=0\.3 and .* --method ls: pass --me', refused)
    assert not (work_dir / 'epoch_2.pth').exists()
    command(train.main, *lenet, *method, *more)
    assert torch.load(work_dir / 'epoch_2.pth', weights_only=False)['meta']['epoch'] == 2


def test_without_a_method_nothing_changes(lenet, command):
    command(train.main, *lenet)
    assert [path.name for path in Path('work_dirs').iterdir()] == ['lenet']
    assert not any('loss' in key for key in weights(Path('work_dirs/lenet')))


def test_the_host_trains_the_dumped_config_of_a_method(lenet, command):
    command(train.main, *lenet, '--method', 'ols')
    ours, theirs = Path('work_dirs/lenet_ols'), Path('theirs')
    command(hosts_train(mmpretrain), ours / 'lenet.py', '--work-dir', theirs)
    assert_close(weights(theirs), weights(ours), rtol=0, atol=0)
    # Trained by our tool once more, it goes where it went before.
    command(train.main, ours / 'lenet.py', '--method', 'ols', '--resume')
    assert [path.name for path in Path('work_dirs').iterdir()] == ['lenet_ols']


def test_a_method_that_is_not_known(lenet, command):
    refused = command(train.main, *lenet, '--method', 'olss', ok=False)
    assert re.search(r"^error: .*method.*'olss'", refused, re.M | re.S)
