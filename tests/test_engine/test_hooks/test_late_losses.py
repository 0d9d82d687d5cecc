"""Losses that appear or go during the run are rolled over while they are there, and resumed."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from torch.testing import assert_close
from toy_runner import (
    EMA,
    NUM_BATCHES,
    OLS,
    exactly,
    make_batches,
    train,
    train_by_hand,
)
from toy_switching import PLAIN, SwitchingClassifier, train_switching

from mmdet_ols import OLSHook, OLSLoss
from mmdet_ols.core import SUMS

NAME = 'head.loss_module'
ABSENT = 'The checkpoint holds no soft labels'
OTHER = dict(OLS, alpha=0.2, start='label_smoothing')
#: What the run starts with, and what it has from the second epoch on.
RECIPES = {
    'appears': (PLAIN, OLS),
    'goes': (OLS, PLAIN),
    'takes the place of another': (OLS, OTHER),
}


def switching(work_dir, recipe='appears', epoch=2, **kwargs):
    first, second = RECIPES[recipe]
    kwargs = dict(dict(epochs=3, save=dict(interval=1)), **kwargs)
    return train_switching(work_dir, make_batches(), first, {epoch: second}, **kwargs)


def later(states, than):
    return {step: state for step, state in states.items() if step > than}


def rolled_over(run):
    """The epochs of the roll-overs in a log."""
    return [int(epoch) for epoch in re.findall(r'rolled over at epoch (\d+)', run['log'])]


# --- rolling over --------------------------------------------------------------------------------


def test_late_loss_is_rolled_over(tmp_path):
    run = switching(tmp_path, lr=0.0, epochs=4)
    assert 'found a new loss, head.loss_module: its soft labels start as configured' in run['log']
    assert rolled_over(run) == [2, 3, 4]
    counted, rolled = train_by_hand(3 * make_batches(), NUM_BATCHES, lr=0.0)
    for iteration, state in run['iterations'].items():
        before = iteration - NUM_BATCHES
        assert_close(state, {} if before < 1 else dict(loss_module=counted[before]))
    for epoch in (2, 3, 4):
        expected = rolled[(epoch - 1) * NUM_BATCHES]
        assert_close(run['epochs'][epoch]['loss_module'], expected)
        assert_close(saved(tmp_path / f'epoch_{epoch}.pth'), expected)


def saved(path):
    state = torch.load(path, weights_only=False)['state_dict']
    return {key: state[f'{NAME}.state.{key}'] for key in ('soft_labels', *SUMS)}


def test_loss_that_goes_is_rolled_over_no_more(tmp_path):
    run = switching(tmp_path, 'goes')
    assert rolled_over(run) == [1]
    assert 'head.loss_module has no online soft labels any more' in run['log']
    assert not any(key.startswith(NAME) for key in state_dict(tmp_path / 'epoch_2.pth'))


def state_dict(path):
    return torch.load(path, weights_only=False)['state_dict']


def test_history_starts_where_the_loss_does(tmp_path):
    (tmp_path / 'soft_labels' / NAME).mkdir(parents=True)
    for step in (0, 3, 7):  # of a run that this one replaces
        np.save(tmp_path / 'soft_labels' / NAME / f'epoch_{step}.npy', np.zeros(1))
    run = switching(tmp_path, epoch=3, epochs=4)
    records = {path.stem: np.load(path) for path in tmp_path.glob('soft_labels/*/*.npy')}
    expected = {epoch: state['loss_module'] for epoch, state in run['epochs'].items() if state}
    assert set(expected) == {3, 4}
    expected = {f'epoch_{epoch}': state['soft_labels'].numpy() for epoch, state in expected.items()}
    expected['epoch_2'] = OLSLoss(num_classes=4, background=True).soft_labels.numpy()
    exactly(records, dict(expected, epoch_0=records['epoch_0']))


def test_late_loss_goes_to_the_models_device():
    model = SwitchingClassifier(PLAIN)
    runner = SimpleNamespace(
        model=model, epoch=0, hooks=[], logger=SimpleNamespace(info=lambda *_: None)
    )
    hook = OLSHook()
    hook.before_run(runner)
    model.to('meta')
    late = OLSLoss(num_classes=4, class_weight=[1.0] * 4)
    model.head.loss_module = late
    hook._follow_changes(runner)
    assert {tensor.device.type for tensor in late.buffers()} == {'meta'}


# --- resuming ------------------------------------------------------------------------------------


def resumes_exactly(tmp_path, start, **arguments):
    whole = switching(tmp_path / 'whole', **arguments)
    last = f'epoch_{max(whole["epochs"])}.pth'
    for epoch in start:
        checkpoint = tmp_path / 'whole' / f'epoch_{epoch}.pth'
        work_dir = tmp_path / f'from {epoch}'
        resumed = switching(work_dir, resume_from=checkpoint, **arguments)
        exactly(resumed['iterations'], later(whole['iterations'], epoch * NUM_BATCHES))
        exactly(resumed['epochs'], later(whole['epochs'], epoch))
        exactly(resumed['weights'], whole['weights'])
        exactly(state_dict(work_dir / last), state_dict(checkpoint.with_name(last)))
        assert ABSENT not in resumed['log']
    return whole


def test_late_loss_is_resumed(tmp_path):
    """Before it appears, after a roll-over, and in the middle of a period."""
    whole = resumes_exactly(tmp_path, (1, 2, 3), ols=dict(interval=2), epochs=4)
    assert rolled_over(whole) == [2, 4]
    assert whole['epochs'][3]['loss_module']['sample_count'].sum() > 0


@pytest.mark.parametrize('hooks', list(EMA.values())[1:], ids=list(EMA)[1:])
def test_late_loss_is_resumed_with_averaged_weights(tmp_path, hooks):
    arguments = dict(ols=dict(interval=3), hooks=hooks, val_interval=1)
    whole = resumes_exactly(tmp_path, (2,), **arguments)
    assert whole['epochs'][2]['loss_module']['sample_count'].sum() > 0


@pytest.mark.parametrize('hooks', EMA.values(), ids=EMA)
@pytest.mark.parametrize('recipe', ['goes', 'takes the place of another'])
def test_other_switches_are_resumed(tmp_path, recipe, hooks):
    # From epoch 1 on, the first loss is not to hand what was saved of it to the second one.
    start = (2,) if recipe == 'goes' else (1, 2)
    resumes_exactly(tmp_path, start, recipe=recipe, hooks=hooks, val_interval=3)


@pytest.mark.parametrize('hooks', list(EMA.values())[1:], ids=list(EMA)[1:])
def test_other_buffers_are_averaged_as_without_a_switch(tmp_path, hooks):
    arguments = dict(hooks=hooks, lr=0.0, epochs=2, save=dict(interval=2))
    switching(tmp_path / 'goes', 'goes', **arguments)
    train_switching(tmp_path / 'plain', make_batches(), PLAIN, {}, **arguments)
    goes, plain = (state_dict(tmp_path / name / 'epoch_2.pth') for name in ('goes', 'plain'))
    assert 'head.norm.running_mean' in plain
    exactly(goes, plain)


def test_epoch_of_the_switch_is_replayed(tmp_path):
    arguments = dict(lr=0.0, save=dict(by_epoch=False, interval=1))
    whole = switching(tmp_path / 'whole', **arguments)
    checkpoint = tmp_path / 'whole' / 'iter_8.pth'
    resumed = switching(tmp_path / 'resumed', resume_from=checkpoint, **arguments)
    exactly(resumed['epochs'], later(whole['epochs'], 1))


def test_checkpoint_with_the_keys_of_earlier_versions(tmp_path):
    arguments = dict(ols=dict(interval=2), epochs=4)
    whole = switching(tmp_path / 'whole', **arguments)
    checkpoint = torch.load(tmp_path / 'whole/epoch_3.pth', weights_only=False)
    checkpoint['state_dict'] = {
        key.replace('.state.', '.'): value for key, value in checkpoint['state_dict'].items()
    }
    assert f'{NAME}.soft_labels' in checkpoint['state_dict']
    torch.save(checkpoint, tmp_path / 'old.pth')
    resumed = switching(tmp_path / 'resumed', resume_from=tmp_path / 'old.pth', **arguments)
    exactly(resumed['iterations'], later(whole['iterations'], 3 * NUM_BATCHES))
    assert ABSENT not in resumed['log']


def test_resumed_loss_whose_soft_labels_were_not_saved_warns(tmp_path):
    switching(tmp_path / 'plain', 'goes', epoch=1, epochs=2)
    arguments = dict(resume_from=tmp_path / 'plain' / 'epoch_2.pth')
    run = switching(tmp_path / 'ols', **arguments)
    assert f'{ABSENT} for head.loss_module' in run['log']


@pytest.mark.parametrize('epoch', [1, 2])
def test_new_training_takes_the_soft_labels_of_a_loss_that_is_there_at_its_first_step(
    tmp_path, epoch
):
    arguments = dict(ols=dict(interval=2), lr=0.0)
    switching(tmp_path / 'first', **arguments)
    checkpoint = tmp_path / 'first' / 'epoch_3.pth'
    assert saved(checkpoint)['sample_count'].sum() > 0
    second = switching(
        tmp_path / 'second', epoch=epoch, load_from=checkpoint, **arguments, epochs=epoch
    )
    state = second['iterations'][(epoch - 1) * NUM_BATCHES + 1]['loss_module']
    counted, _ = train_by_hand(make_batches(), NUM_BATCHES, lr=0.0)
    for key in SUMS:
        assert_close(state[key], counted[1][key])
    start = saved(checkpoint) if epoch == 1 else counted[1]
    assert_close(state['soft_labels'], start['soft_labels'])


class SwitchAfter(Hook):
    """Exchanges the loss after an iteration, and in a resumed run before its first one."""

    def __init__(self, iteration):
        self.iteration = iteration

    def before_train(self, runner):
        if runner.iter >= self.iteration:
            runner.model.head.loss_module = OLSLoss(num_classes=4, background=True)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.iteration:
            runner.model.head.loss_module = OLSLoss(num_classes=4, background=True)


@pytest.mark.filterwarnings('ignore:.*soft labels were not updated yet')
def test_iteration_based_loop(tmp_path):
    arguments = dict(
        iters=9,
        model=dict(type='SwitchingClassifier', loss=PLAIN),
        ols=dict(interval=4),
    )
    save = dict(by_epoch=False, interval=1)
    averaging = EMA['EMA'][0]

    def run(name, hooks=(averaging,), save=save, **kwargs):
        hooks = [*hooks, SwitchAfter(2)]
        return train(
            tmp_path / name, make_batches(9), hooks=hooks, save=save, **arguments, **kwargs
        )

    for whole in (run('unsaved', hooks=(), save=None), run('whole')):
        assert re.findall(r'rolled over at iteration (\d+)', whole['log']) == ['4', '8']
    for iteration in (1, 3, 6):
        checkpoint = tmp_path / 'whole' / f'iter_{iteration}.pth'
        resumed = run(f'from {iteration}', resume_from=checkpoint)
        exactly(resumed['iterations'], later(whole['iterations'], iteration))
        exactly(resumed['weights'], whole['weights'])
