"""Checkpoints and run folders of an earlier version: they resume, test, report and plot.

`fixtures/README.md` says what the files are and what made them.
"""

from __future__ import annotations

import shutil
import sys
from operator import itemgetter
from pathlib import Path

import pytest
import torch
import toy_images  # noqa: F401  (registers what the run folder's config names)
from mmengine.config import Config
from mmengine.dataset import InfiniteSampler
from mmengine.runner import Runner
from torch.testing import assert_close
from torch.utils.data import DataLoader
from toy_runner import EMA, OLS, ToyClassifier, make_batches, train

from mmdet_ols import OLSLoss
from mmdet_ols.analysis import soft_labels_in_checkpoint
from mmdet_ols.cli import plot_soft_labels, report

FIXTURES = Path(__file__).parent / 'fixtures'
ITERATIONS = dict(
    iters=9, ols=dict(by_epoch=False, interval=4), save=dict(by_epoch=False, interval=1)
)
SPARSE = dict(OLS, type='OLSSparseLoss', top_m=1)
SINGLE = dict(OLS, type='OLSSingleLoss', bank_size=3)
#: How each checkpoint's training goes on.
RUNS = dict(
    epoch=dict(epochs=3, save=dict(interval=1)),
    iteration=ITERATIONS,
    ema=dict(ITERATIONS, hooks=EMA['EMA of buffers']),
    sparse=dict(ITERATIONS, loss=SPARSE),
    single=dict(ITERATIONS, loss=SINGLE),
)
#: Another processor may round differently; on the one that wrote the files every bit is the same.
CLOSE = dict(rtol=1e-6, atol=1e-7)


def load(name):
    return torch.load(FIXTURES / name, map_location='cpu', weights_only=False)


def old_names(state):
    """The entries of a state dict under the names that they had."""
    return {key.replace('.state.', '.').removeprefix('state.'): state[key] for key in state}


def with_kept_keys(state):
    """With the keys of a prediction bank as they are kept now: in fewer bits, in the same order."""
    for name in state:
        if name.endswith('reservoir_key'):
            state[name] = torch.where(state[name] > 0, (state[name] >> 15) + 1, 0)
    return state


def batches_of(name):
    if name == 'epoch':
        return make_batches()
    # As an iteration-based loop draws them: in an order that a resumed one goes on with.
    batches = make_batches()
    sampler = InfiniteSampler(batches, shuffle=True, seed=3)
    return DataLoader(batches, batch_size=1, sampler=sampler, collate_fn=itemgetter(0))


@pytest.mark.parametrize('name', RUNS)
def test_training_goes_on_as_it_did(name, tmp_path, monkeypatch):
    monkeypatch.setattr('toy_runner.STATE', ('soft_labels',))  # what all kinds of states have
    train(tmp_path, batches_of(name), resume_from=FIXTURES / f'{name}.pth', **RUNS[name])
    continued = load(f'{name}_continued.pth')
    assert len(continued) == (1 if name == 'epoch' else 3)
    for step, expected in continued.items():
        saved = torch.load(tmp_path / f'{step}.pth', weights_only=False)
        for part, state in expected.items():
            assert_close(old_names(saved[part]), with_kept_keys(state), **CLOSE)


@pytest.mark.parametrize('name', RUNS)
def test_checkpoint_loads_strictly(name):
    saved = load(f'{name}.pth')
    for part in ('state_dict', 'ema_state_dict'):
        if part not in saved:
            continue
        model = ToyClassifier(RUNS[name].get('loss', OLS))
        if part == 'ema_state_dict':
            model = torch.optim.swa_utils.AveragedModel(model)
            saved[part].setdefault('n_averaged', saved[part].pop('steps', torch.tensor(0)))
        model.load_state_dict(saved[part])
        expected = with_kept_keys(dict(saved[part]))
        assert_close(old_names(dict(model.state_dict())), expected, rtol=0, atol=0)


def test_soft_labels_of_a_checkpoint_can_be_read():
    for name in RUNS:
        saved = load(f'{name}.pth')
        (loss,) = soft_labels_in_checkpoint(saved)
        assert loss == 'losses.head'
        model = ToyClassifier(RUNS[name].get('loss', OLS))
        model.load_state_dict(saved['state_dict'])
        actual = soft_labels_in_checkpoint(saved)[loss]
        assert_close(actual, model.losses['head'].soft_labels, rtol=0, atol=0)
        assert actual.std() > 0.1
        assert_close(soft_labels_in_checkpoint(dict(model.state_dict())), {loss: actual})


def test_state_dict_of_a_plain_loop_goes_on_as_it_did():
    expected = load('plain_continued.pth')
    criterion = OLSLoss(num_classes=4, implementation='plain')
    criterion.load_state_dict(load('plain.pth'))
    logits = expected['logits'].requires_grad_()
    loss = criterion(logits, expected['label'])
    (gradient,) = torch.autograd.grad(loss, logits)
    assert_close([loss, gradient], [expected['loss'], expected['gradient']], **CLOSE)
    assert_close(old_names(criterion.state_dict()), expected['stepped'], **CLOSE)
    criterion.update_soft_labels()
    assert_close(old_names(criterion.state_dict()), expected['rolled_over'], **CLOSE)


@pytest.fixture
def run(tmp_path):
    return Path(shutil.copytree(FIXTURES / 'run', tmp_path / 'run'))


def call(tool, monkeypatch, capsys, *arguments):
    """What a tool prints."""
    monkeypatch.setattr(sys, 'argv', [tool.__name__, *map(str, arguments)])
    tool.main()
    return capsys.readouterr().out


def test_run_folder_is_reported(run, monkeypatch, capsys):
    images = f'train_dataloader.dataset.data_root={FIXTURES / "images"}'
    call(report, monkeypatch, capsys, run, '--cfg-options', images)
    text = (run / 'report.html').read_text()
    for words in (
        'the soft labels of head.loss_module',
        'At the start',
        'After epoch 3',
        'OLSLoss(num_classes=3)',
        'It takes 4 of them for another class',
    ):
        assert words in text
    shutil.rmtree(run / 'soft_labels')
    call(report, monkeypatch, capsys, run)
    text = (run / 'report.html').read_text()
    assert 'After epoch 3' in text and 'At the start' not in text


def test_checkpoint_of_a_run_folder_is_plotted(run, monkeypatch, capsys):
    output = call(plot_soft_labels, monkeypatch, capsys, run / 'epoch_3.pth')
    assert 'by the soft labels of head.loss_module' in output and 'is taken for green' in output
    assert (run / 'epoch_3_soft_labels_head.loss_module.png').is_file()


def test_run_folder_is_tested(run, tmp_path):
    cfg = Config.fromfile(run / 'config.py')
    cfg.merge_from_dict(
        {
            'test_dataloader.dataset.data_root': str(FIXTURES / 'images'),
            'work_dir': str(tmp_path / 'test'),
            'load_from': str(run / 'epoch_3.pth'),
            'experiment_name': 'test_run_folder_is_tested',
        }
    )
    result = Runner.from_cfg(cfg).test()
    assert result['accuracy/top1'] == pytest.approx(66.6667, abs=1e-3)
