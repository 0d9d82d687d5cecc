"""When the hook rolls over, what it reports, and what must not disturb the state."""

from __future__ import annotations

import json
import re

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import MODELS
from mmengine.runner import Runner
from reference import Reference
from torch import nn
from torch.testing import assert_close
from toy_runner import (
    BACKGROUND,
    NUM_BATCHES,
    NUM_CLASSES,
    OLS,
    Recorder,
    ToyClassifier,
    exactly,
    live_state,
    make_batches,
    one_by_one,
    saved_state,
    train,
    train_by_hand,
)

from mmdet_ols import OLSHook


def of_head(states, name='head'):
    return {step: state[name] for step, state in states.items()}


# --- when it rolls over --------------------------------------------------------------------------


def test_every_loss_rolls_over_at_each_epochs_end_before_the_checkpoint(tmp_path):
    run = train(tmp_path, make_batches(), epochs=3, save=dict(interval=1), names=('head', 'other'))
    for name in ('head', 'other'):
        counted, rolled = train_by_hand(3 * make_batches(), NUM_BATCHES, head=name)
        assert_close(of_head(run['iterations'], name), counted)
        for epoch in (1, 2, 3):
            expected = rolled[epoch * NUM_BATCHES]
            assert expected['sample_count'].sum() == 0
            assert_close(run['epochs'][epoch][name], expected)
            assert_close(saved_state(tmp_path / f'epoch_{epoch}.pth', name=name), expected)


def test_from_a_config(tmp_path):
    # What users type; the other tests hand MMEngine the same dict.
    Config(dict(default_hooks=dict(ols=dict(type='OLSHook')))).dump(tmp_path / 'config.py')
    cfg = Config.fromfile(tmp_path / 'config.py')
    runner = Runner(
        model=dict(type='ToyClassifier', loss=dict(type='OLSLoss', num_classes=5)),
        work_dir=str(tmp_path),
        train_dataloader=one_by_one(make_batches()),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)),
        default_hooks=cfg.default_hooks,
        experiment_name='test_from_a_config',
    )
    runner.train()
    reference, weight = Reference(5), ToyClassifier(dict(type='OLSLoss', num_classes=5)).heads
    for batch in make_batches():
        for inputs, label in zip(batch['inputs'], batch['label'].tolist()):
            reference.learn(weight['head'].weight.detach() @ inputs, label)
    reference.roll_over()
    assert_close(live_state(runner.model)['head'], reference.tensors())


def test_interval_of_epochs(tmp_path):
    run = train(tmp_path, make_batches(), epochs=5, ols=dict(interval=2))
    counted, rolled = train_by_hand(5 * make_batches(), 2 * NUM_BATCHES)
    assert_close(of_head(run['iterations']), counted)
    assert_close(
        of_head(run['epochs']), {epoch: rolled[epoch * NUM_BATCHES] for epoch in range(1, 6)}
    )


@pytest.mark.parametrize(
    ('length', 'period'),  # shorter and longer than an epoch of 5
    [(dict(iters=10), 3), (dict(epochs=2), 3), (dict(epochs=2), 7)],
)
def test_interval_of_iterations(tmp_path, length, period):
    batches = make_batches(10 if 'iters' in length else NUM_BATCHES)
    run = train(tmp_path, batches, ols=dict(by_epoch=False, interval=period), **length)
    sequence = batches * length.get('epochs', 1)
    _, rolled = train_by_hand(sequence, period)
    assert_close(of_head(run['iterations']), rolled)
    assert_close(run['state']['head'], rolled[10])  # the end of the loop is no roll-over


def test_epochs_are_refused_in_a_loop_that_has_none(tmp_path):
    recorder = Recorder()
    with pytest.raises(ValueError, match='`by_epoch` of OLSHook must be False'):
        train(tmp_path, make_batches(), iters=2, ols=dict(by_epoch=True), hooks=[recorder])
    assert not recorder.iterations


def test_a_second_hook_is_refused(tmp_path):
    """It would roll over once more, when nothing is left to learn from."""
    recorder = Recorder()
    with pytest.raises(ValueError, match='but got 2 OLSHooks: leave out those in `custom_hooks`'):
        train(tmp_path, make_batches(), epochs=1, hooks=[dict(type='OLSHook'), recorder])
    assert not recorder.iterations


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(interval=0), '`interval` must be None or a positive integer, but got 0'),
        (dict(interval=-1), '`interval` must be None or a positive integer, but got -1'),
        (dict(interval=2.0), '`interval` must be None or a positive integer, but got 2.0'),
        (dict(draw_interval=-1), r'`draw_interval` must be 0 or a positive integer, but got -1'),
        (dict(record_interval=-1), r'`record_interval` must be None or 0 or .*, but got -1'),
        (dict(record_interval=2.5), r'`record_interval` must be None or 0 or .*, but got 2.5'),
        (dict(draw_interval=0.5), r'`draw_interval` must be 0 or a positive integer, but got 0.5'),
    ],
)
def test_bad_settings_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        OLSHook(**kwargs)


def test_hook_without_a_loss_warns(tmp_path):
    run = train(tmp_path, make_batches(), epochs=1, loss=dict(type=nn.CrossEntropyLoss))
    warnings = [line for line in run['log'].splitlines() if 'WARNING' in line]
    assert any('OLSHook found no loss with online soft labels' in line for line in warnings)


def test_a_loss_that_saw_no_class_warns(tmp_path):
    """As where a head never calls its loss; here there is nothing but background."""
    batches = [dict(batch, label=torch.full_like(batch['label'], 4)) for batch in make_batches()]
    run = train(tmp_path / 'background', batches, epochs=2)
    # MMEngine says a thing once.
    assert len(re.findall(r'WARNING - losses.head saw no sample of a class', run['log'])) == 1
    assert 'so its soft labels stay as they are' in run['log']
    loss = dict(OLS, empty_class='uniform')
    run = train(tmp_path / 'uniform', batches, epochs=1, loss=loss)
    assert 'so its soft labels are uniform now' in run['log']
    assert 'saw no sample' not in train(tmp_path / 'all', make_batches(), epochs=1)['log']


@MODELS.register_module()
class ToyWithTeacher(ToyClassifier):
    """As MMDetection's semi-supervised detectors, whose teacher never computes a loss."""

    def __init__(self, loss):
        super().__init__(loss)
        self.teacher = ToyClassifier(loss)


def test_a_teacher_is_left_alone(tmp_path):
    run = train(tmp_path, make_batches(), epochs=2, model=dict(type='ToyWithTeacher', loss=OLS))
    assert len(re.findall(r'Soft labels of losses\.head rolled over', run['log'])) == 2
    assert 'teacher.losses' not in run['log'].partition('Epoch(train)')[2]


@MODELS.register_module()
class ToyMutual(ToyWithTeacher):
    """As mutual learning, whose teacher learns as well."""

    def forward(self, inputs, label, mode):
        losses = super().forward(inputs, label, mode)
        if mode == 'loss':
            losses['loss_teacher'] = self.teacher(inputs, label, mode)['loss_head']
        return losses


def test_a_teacher_that_learns_is_rolled_over(tmp_path):
    run = train(
        tmp_path,
        make_batches(),
        epochs=2,
        save=dict(interval=1),
        model=dict(type='ToyMutual', loss=OLS),
    )
    assert len(re.findall(r'Soft labels of teacher\.losses\.head rolled over', run['log'])) == 2
    saved = torch.load(tmp_path / 'epoch_2.pth', weights_only=False)['state_dict']
    for key in ('soft_labels', 'sample_count'):
        exactly(saved[f'teacher.losses.head.state.{key}'], saved[f'losses.head.state.{key}'])


def test_loss_without_a_hook_warns_in_the_second_epoch(tmp_path, recwarn):
    train(tmp_path / 'one', make_batches(), epochs=1, ols=False)
    assert not [warning for warning in recwarn if 'not updated yet' in str(warning.message)]
    with pytest.warns(UserWarning, match='OLSLoss .* soft labels were not updated yet.*OLSHook'):
        train(tmp_path / 'two', make_batches(), epochs=2, ols=False)


# --- what it reports -----------------------------------------------------------------------------


def scalars(work_dir, name='head'):
    """{step: {quantity: value}} of a loss, as LocalVisBackend wrote them."""
    (path,) = work_dir.rglob('scalars.json')
    prefix, actual = f'ols/losses.{name}/', {}
    for line in path.read_text().splitlines():
        entry = json.loads(line)
        values = {key[len(prefix) :]: value for key, value in entry.items() if prefix in key}
        if values:
            actual[entry['step']] = values
    return actual


def test_scalars(tmp_path):
    train(tmp_path, make_batches(), epochs=2, names=('head', 'other'))
    for name in ('head', 'other'):
        counted, rolled = train_by_hand(2 * make_batches(), NUM_BATCHES, head=name)
        logged = scalars(tmp_path, name)
        assert list(logged) == [1, 2]
        for epoch in (1, 2):
            before, after = (states[epoch * NUM_BATCHES] for states in (counted, rolled))
            seen = sum(
                label != BACKGROUND for batch in make_batches() for label in batch['label'].tolist()
            )
            rows = after['soft_labels'][:NUM_CLASSES].double()
            expected = dict(
                correct_share=sum(before['correct_count'].tolist()) / seen,
                empty_classes=sum(n == 0 for n in before['correct_count'].tolist()[:NUM_CLASSES]),
                confidence=sum(float(rows[y, y]) for y in range(NUM_CLASSES)) / NUM_CLASSES,
                entropy=-float((rows * rows.log()).sum()) / NUM_CLASSES,
            )
            assert 0 < expected['correct_share'] < 1 and expected['empty_classes'] >= 1
            assert_close(logged[epoch], {key: float(value) for key, value in expected.items()})


# --- what must not disturb the state -------------------------------------------------------------


@pytest.mark.parametrize('update_buffers', [None, False, True])
@pytest.mark.parametrize('length', [dict(epochs=3), dict(iters=5)])
def test_validation_adds_nothing(tmp_path, length, update_buffers):
    arguments = dict(length, ols=dict(by_epoch='epochs' in length, interval=2))
    if update_buffers is not None:
        ema = dict(type='EMAHook', momentum=0.3, update_buffers=update_buffers)
        arguments['hooks'] = [ema]
    alone = train(tmp_path / 'alone', make_batches(), **arguments)
    validated = train(tmp_path / 'validated', make_batches(), val_interval=1, **arguments)
    assert 'score: ' in validated['log']
    for key in ('iterations', 'epochs', 'weights'):
        exactly(validated[key], alone[key])


def test_gradient_accumulation_changes_nothing(tmp_path):
    # With the weights held still, since they are stepped at other times.
    run = train(tmp_path, make_batches(), epochs=2, lr=0.0, optim=dict(accumulative_counts=3))
    counted, _ = train_by_hand(2 * make_batches(), NUM_BATCHES, lr=0.0)
    assert_close(of_head(run['iterations']), counted)


def test_mixed_precision(tmp_path):
    """bfloat16 predictions are summed in float32, and end near those of float32."""
    optim = dict(type='CPUAmpOptimWrapper')
    arguments = dict(epochs=1, lr=0.0)
    half = train(tmp_path / 'half', make_batches(), optim=optim, **arguments)
    full = train(tmp_path / 'full', make_batches(), **arguments)

    reference = Reference(NUM_CLASSES, background=True)
    weight = ToyClassifier(dict(type='OLSLoss', num_classes=NUM_CLASSES, background=True)).heads
    weight = weight['head'].weight.detach().bfloat16()
    for batch in make_batches():
        logits = nn.functional.linear(batch['inputs'].bfloat16(), weight).float()
        assert (batch['inputs'].abs() @ weight.float().abs().T).max() < 8
        for scores, label in zip(logits, batch['label'].tolist()):
            reference.learn(scores, label)
    assert_close(half['iterations'][NUM_BATCHES]['head'], reference.tensors())

    # Inputs, weights and logits are rounded, each by 2^-9 of itself at most, and the terms of a
    # logit add up to less than 8: it is off by less than 0.05, and p(1 - p) times twice that is p.
    counts = (run['iterations'][NUM_BATCHES]['head']['correct_count'] for run in (half, full))
    exactly(*counts)
    half, full = half['state']['head']['soft_labels'], full['state']['head']['soft_labels']
    assert half.dtype == torch.float32 and not torch.equal(half, full)
    assert_close(half, full, rtol=0, atol=0.025)


class FrozenInEvalMode(Hook):
    """What a model does whose `train()` keeps everything in eval mode."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        runner.model.losses['head'].eval()


def test_a_loss_in_eval_mode_is_said_at_its_first_step(tmp_path):
    run = train(
        tmp_path, make_batches(), epochs=2, names=('head', 'other'), hooks=[FrozenInEvalMode()]
    )
    assert run['log'].count('losses.head is in eval mode during a training step') == 1
    assert 'losses.other is in eval mode' not in run['log']
    # It really learned nothing, and the roll-over says so as well.
    start = ToyClassifier(OLS).losses['head'].soft_labels
    exactly(run['state']['head']['soft_labels'], start)
    assert 'losses.head saw no sample of a class' in run['log']
    assert 'eval mode' not in train(tmp_path / 'usual', make_batches(), epochs=1)['log']
