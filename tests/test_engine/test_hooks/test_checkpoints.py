"""What a checkpoint holds, and that going on from it gives what an uninterrupted run gives."""

from __future__ import annotations

from operator import itemgetter

import pytest
import torch
from mmengine.dataset import InfiniteSampler
from mmengine.runner import FlexibleRunner, Runner
from torch import nn
from torch.testing import assert_close
from torch.utils.data import DataLoader
from toy_runner import (
    EMA,
    NUM_BATCHES,
    STATE,
    exactly,
    make_batches,
    saved_state,
    train,
    train_by_hand,
)

from mmdet_ols.core import SUMS

PLAIN = dict(type=nn.CrossEntropyLoss)


def shuffled():
    """Batches as an iteration-based loop draws them.

    MMEngine goes on in the order of the uninterrupted run, skipping what was seen, if the sampler
    has the same seed; so that even the sums of a period can be compared.
    """
    batches = make_batches()
    sampler = InfiniteSampler(batches, shuffle=True, seed=3)
    return DataLoader(batches, batch_size=1, sampler=sampler, collate_fn=itemgetter(0))


def later(states, than):
    return {step: state for step, state in states.items() if step > than}


@pytest.mark.parametrize(
    ('hook', 'ols', 'message'),
    [
        (dict(type='EMAHook', priority='LOW'), {}, 'EMAHook must come before OLSHook.* of .*LOW'),
        (dict(type='EMAHook'), dict(priority=40), 'EMAHook must come before OLSHook.* and 40'),
        (dict(type='CheckpointHook', priority='NORMAL'), {}, 'CheckpointHook must come after OLSH'),
    ],
)
def test_an_order_in_which_checkpoints_miss_the_live_state_is_refused(tmp_path, hook, ols, message):
    with pytest.raises(ValueError, match=message):
        train(tmp_path, make_batches(), epochs=2, hooks=[hook], ols=ols)


# --- resuming ------------------------------------------------------------------------------------


@pytest.mark.parametrize('hooks', EMA.values(), ids=EMA)
@pytest.mark.parametrize('epoch', [1, 2])
def test_resuming_at_an_epochs_end(tmp_path, epoch, hooks):
    arguments = dict(epochs=3, hooks=hooks, save=dict(interval=1))
    whole = train(tmp_path / 'whole', make_batches(), **arguments)
    checkpoint = tmp_path / 'whole' / f'epoch_{epoch}.pth'
    resumed = train(tmp_path / 'resumed', make_batches(), resume_from=checkpoint, **arguments)
    exactly(resumed['epochs'], later(whole['epochs'], epoch))
    exactly(resumed['iterations'], later(whole['iterations'], epoch * NUM_BATCHES))
    exactly(resumed['weights'], whole['weights'])


@pytest.mark.parametrize('hooks', EMA.values(), ids=EMA)
def test_resuming_between_two_epochs_of_a_period(tmp_path, hooks):
    arguments = dict(epochs=4, ols=dict(interval=2), hooks=hooks, save=dict(interval=1))
    whole = train(tmp_path / 'whole', make_batches(), **arguments)
    for epoch in (1, 3):
        checkpoint = tmp_path / 'whole' / f'epoch_{epoch}.pth'
        exactly(saved_state(checkpoint), whole['epochs'][epoch]['head'])
        assert saved_state(checkpoint)['sample_count'].sum() > 0
        work_dir = tmp_path / f'from {epoch}'
        resumed = train(work_dir, make_batches(), resume_from=checkpoint, **arguments)
        exactly(resumed['epochs'], later(whole['epochs'], epoch))


@pytest.mark.parametrize('hooks', EMA.values(), ids=EMA)
def test_resuming_anywhere_in_an_iteration_based_loop(tmp_path, hooks):
    arguments = dict(
        iters=9,
        ols=dict(by_epoch=False, interval=4),
        hooks=hooks,
        save=dict(by_epoch=False, interval=1),
    )
    whole = train(tmp_path / 'whole', shuffled(), **arguments)
    for iteration in (3, 4, 5):  # before, at and after a roll-over
        checkpoint = tmp_path / 'whole' / f'iter_{iteration}.pth'
        exactly(saved_state(checkpoint), whole['iterations'][iteration]['head'])
        assert bool(saved_state(checkpoint)['sample_count'].any()) == (iteration != 4)
        work_dir = tmp_path / f'from {iteration}'
        resumed = train(work_dir, shuffled(), resume_from=checkpoint, **arguments)
        exactly(resumed['iterations'], later(whole['iterations'], iteration))
        exactly(resumed['weights'], whole['weights'])


@pytest.mark.parametrize('hooks', EMA.values(), ids=EMA)
@pytest.mark.parametrize(
    ('interval', 'stop', 'batches_lost'),
    [
        (1, 3, 3),
        (1, 8, 3),
        (1, 10, 5),  # after the last batch, but before the epoch is over
        (2, 8, 3),  # the epoch before it, of the same period, counts still
    ],
)
def test_epoch_that_was_cut_short_and_is_replayed_counts_once(
    tmp_path, interval, stop, batches_lost, hooks
):
    # The weights are held still: MMEngine replays the epoch with weights that have seen it.
    arguments = dict(
        epochs=2,
        ols=dict(interval=interval),
        hooks=hooks,
        save=dict(by_epoch=False, interval=1),
        lr=0.0,
    )
    whole = train(tmp_path / 'whole', make_batches(), **arguments)
    epoch = 1 + (stop - 1) // NUM_BATCHES
    assert f'replays epoch {epoch} from its start' in whole['log']

    checkpoint = tmp_path / 'whole' / f'iter_{stop}.pth'
    resumed = train(tmp_path / 'resumed', make_batches(), resume_from=checkpoint, **arguments)
    # The replay starts the epoch again, but not MMEngine's count of iterations.
    replayed = {step - batches_lost: state for step, state in resumed['iterations'].items()}
    exactly(replayed, later(whole['iterations'], stop - batches_lost))
    exactly(resumed['epochs'], later(whole['epochs'], epoch - 1))


@pytest.mark.parametrize('hooks', EMA.values(), ids=EMA)
@pytest.mark.parametrize(('stop', 'counted'), [(2, [0]), (7, [4, 0]), (9, [0])])
def test_replay_where_iterations_roll_over(tmp_path, stop, counted, hooks):
    """Roll-overs after iterations 4 and 8; the second epoch starts after iteration 5."""
    arguments = dict(
        epochs=2,
        ols=dict(by_epoch=False, interval=4),
        hooks=hooks,
        save=dict(by_epoch=False, interval=1),
        lr=0.0,
    )
    train(tmp_path / 'whole', make_batches(), **arguments)
    checkpoint = tmp_path / 'whole' / f'iter_{stop}.pth'
    arguments['ols']['interval'] = 100
    resumed = train(tmp_path / 'resumed', make_batches(), resume_from=checkpoint, **arguments)
    sequence = [make_batches()[index] for index in counted]
    expected, _ = train_by_hand(sequence, period=100, lr=0.0)
    first = resumed['iterations'][stop + 1]['head']  # batch 0 again
    for key in SUMS:
        assert_close(first[key], expected[len(counted)][key])


# --- what is in the file -------------------------------------------------------------------------


@pytest.mark.parametrize('hooks', EMA.values(), ids=EMA)
@pytest.mark.parametrize(
    'arguments',
    [
        dict(epochs=2, save=dict(interval=1)),
        dict(iters=5, ols=dict(by_epoch=False, interval=3), save=dict(by_epoch=False, interval=1)),
    ],
)
def test_checkpoint_holds_the_live_state(tmp_path, arguments, hooks):
    run = train(tmp_path, make_batches(), hooks=hooks, **arguments)
    kind = 'epoch' if 'epochs' in arguments else 'iter'
    for step, live in run[kind + 's' if kind == 'epoch' else 'iterations'].items():
        path = tmp_path / f'{kind}_{step}.pth'
        exactly(saved_state(path), live['head'])
        if hooks:
            exactly(saved_state(path, 'ema_state_dict'), live['head'])
    if hooks:  # the weights are the averaged ones, so EMAHook did swap
        key = 'heads.head.weight'
        weight = torch.load(path, weights_only=False)['state_dict'][key]
        assert (weight - run['weights'][key]).abs().max() > 0.01


@pytest.mark.parametrize('hooks', EMA.values(), ids=EMA)
def test_saving_does_not_touch_the_live_state(tmp_path, hooks):
    arguments = dict(epochs=2, hooks=hooks)
    unsaved = train(tmp_path / 'unsaved', make_batches(), **arguments)
    saved = train(
        tmp_path / 'saved', make_batches(), save=dict(by_epoch=False, interval=1), **arguments
    )
    exactly(saved['iterations'], unsaved['iterations'])


@pytest.mark.parametrize('hooks', EMA.values(), ids=EMA)
def test_best_checkpoint_of_an_iteration_based_loop(tmp_path, hooks):
    arguments = dict(
        iters=6,
        ols=dict(by_epoch=False, interval=3),
        hooks=hooks,
        val_interval=4,
        lr=0.0,  # the best checkpoint has no optimizer in it, so steps would differ
    )
    save = dict(by_epoch=False, interval=100, save_last=False, save_best='score', rule='greater')
    whole = train(tmp_path / 'whole', shuffled(), save=save, **dict(arguments, iters=5))
    checkpoint = tmp_path / 'whole' / 'best_score_iter_5.pth'
    assert checkpoint.exists()
    exactly(saved_state(checkpoint), whole['iterations'][5]['head'])
    assert saved_state(checkpoint)['sample_count'].sum() > 0

    whole = train(tmp_path / 'longer', shuffled(), **arguments)
    resumed = train(tmp_path / 'resumed', shuffled(), resume_from=checkpoint, **arguments)
    exactly(resumed['iterations'], {6: whole['iterations'][6]})


@pytest.mark.parametrize('hooks', EMA.values(), ids=EMA)
def test_best_checkpoint_of_an_epoch_based_loop(tmp_path, hooks):
    save = dict(interval=100, save_last=False, save_best='score', rule='greater')
    arguments = dict(epochs=3, ols=dict(interval=2), save=save, hooks=hooks, val_interval=3)
    run = train(tmp_path, make_batches(), **arguments)
    exactly(saved_state(tmp_path / 'best_score_epoch_3.pth'), run['epochs'][3]['head'])


@pytest.mark.parametrize(
    ('hooks', 'runner_class'), [*[(hooks, Runner) for hooks in EMA.values()], ([], FlexibleRunner)]
)
def test_new_training_takes_the_soft_labels_but_no_sums(tmp_path, hooks, runner_class):
    first = train(
        tmp_path / 'first',
        make_batches(),
        iters=5,
        ols=dict(by_epoch=False, interval=3),
        save=dict(by_epoch=False, interval=1),
        hooks=hooks,
        lr=0.0,
    )
    checkpoint = tmp_path / 'first' / 'iter_5.pth'
    assert saved_state(checkpoint)['sample_count'].sum() > 0
    arguments = dict(epochs=1, lr=0.0, hooks=hooks, runner_class=runner_class)
    second = train(tmp_path / 'second', make_batches(), load_from=checkpoint, **arguments)
    scratch = train(tmp_path / 'scratch', make_batches(), **arguments)
    start = second['iterations'][1]['head']
    exactly(start['soft_labels'], first['iterations'][3]['head']['soft_labels'])
    for key in SUMS:
        exactly(start[key], scratch['iterations'][1]['head'][key])


# --- with and without the loss -------------------------------------------------------------------


def test_checkpoint_with_ols_in_a_config_without(tmp_path, capsys):
    ols = train(tmp_path / 'ols', make_batches(), epochs=1, save=dict(interval=1))
    arguments = dict(epochs=1, lr=0.0, loss=PLAIN, ols=False)
    checkpoint = tmp_path / 'ols' / 'epoch_1.pth'
    plain = train(tmp_path / 'plain', make_batches(), load_from=checkpoint, **arguments)
    exactly(plain['weights'], ols['weights'])
    output = capsys.readouterr().out  # MMEngine prints it past its log file
    (line,) = (line for line in output.splitlines() if 'unexpected key' in line)
    for key in STATE:
        assert f'losses.head.state.{key}' in line


@pytest.mark.parametrize('hooks', EMA.values(), ids=EMA)
@pytest.mark.parametrize('how', ['load_from', 'resume_from'])
def test_checkpoint_without_ols_in_a_config_with(tmp_path, how, hooks, capsys):
    arguments = dict(lr=0.0, hooks=hooks, save=dict(interval=1))
    train(tmp_path / 'plain', make_batches(), epochs=1, loss=PLAIN, ols=False, **arguments)
    start = {how: tmp_path / 'plain' / 'epoch_1.pth'}
    run = train(tmp_path / 'ols', make_batches(), epochs=2, **start, **arguments)
    counted, _ = train_by_hand(make_batches(), NUM_BATCHES, lr=0.0)
    assert_close(run['iterations'][min(run['iterations'])]['head'], counted[1])
    assert 'The checkpoint holds no soft labels for losses.head' in run['log']
    missing = capsys.readouterr().out.partition('missing keys')[2]
    for key in STATE:
        assert f'losses.head.state.{key}' in missing
