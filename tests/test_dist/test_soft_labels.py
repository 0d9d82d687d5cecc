"""Two processes with the parts of the batches end where one with all of them does."""

from __future__ import annotations

import pytest
from mmengine.runner import FlexibleRunner
from torch.testing import assert_close
from toy_runner import (
    BACKGROUND,
    EMA,
    NUM_BATCHES,
    SaveAt,
    exactly,
    make_batches,
    plain_loop,
    saved_state,
    train,
    train_by_hand,
)

from mmdet_ols.core import SUMS

pytestmark = pytest.mark.dist

DDP = dict(broadcast_buffers=False)  # as MMEngine wraps a model


def pick(batches, choose):
    return [
        {key: value[choose(batch['label'])] for key, value in batch.items()} for batch in batches
    ]


def uneven(batches):
    """Rank 1 has two samples of each batch, and none of the last one."""
    parts = [
        pick(batches, lambda label: slice(None, len(label) - 2)),
        pick(batches, lambda label: slice(len(label) - 2, None)),
    ]
    for key in ('inputs', 'label'):
        parts[0][-1][key] = batches[-1][key]
        parts[1][-1][key] = batches[-1][key][:0]
    return parts


def without_positives(batches):
    """Rank 1 has nothing but background."""
    return [
        pick(batches, lambda label: label != BACKGROUND),
        pick(batches, lambda label: label == BACKGROUND),
    ]


SPLITS = [uneven, without_positives, lambda batches: without_positives(batches)[::-1]]
SPLIT_IDS = ['uneven', 'rank 1 without positives', 'rank 0 without positives']


def total(results, where, step):
    """The state of both ranks together: the buffers are equal, what is private adds up."""
    merged, other = (result['merged'][where][step]['head'] for result in results)
    exactly(merged, other)
    states = [result[where][step]['head'] for result in results]
    exactly([state['soft_labels'] for state in states], 2 * [merged['soft_labels']])
    both = {key: states[0][key] + states[1][key] - merged[key] for key in SUMS}
    return dict(both, soft_labels=merged['soft_labels'])


def add_up(results, where):
    return {step: total(results, where, step) for step in results[0][where]}


# --- the end of an epoch -------------------------------------------------------------------------


@pytest.mark.parametrize('split', SPLITS, ids=SPLIT_IDS)
@pytest.mark.parametrize('broadcast_buffers', [False, True])
def test_epochs_in_mmengine(tmp_path, two_ranks, broadcast_buffers, split):
    results = two_ranks(
        train,
        split(make_batches()),
        work_dir=tmp_path,
        epochs=2,
        lr=0.0,
        wrapper=dict(broadcast_buffers=broadcast_buffers),
        save=dict(interval=1),
    )
    counted, rolled = train_by_hand(2 * make_batches(), NUM_BATCHES, lr=0.0)
    assert_close(add_up(results, 'iterations'), counted)
    for epoch in (1, 2):
        expected = rolled[epoch * NUM_BATCHES]
        assert_close(saved_state(tmp_path / f'epoch_{epoch}.pth'), expected)
        for result in results:
            assert_close(result['epochs'][epoch]['head'], expected)


@pytest.mark.parametrize('split', SPLITS, ids=SPLIT_IDS)
@pytest.mark.parametrize('broadcast_buffers', [False, True])
def test_epochs_in_a_plain_loop(two_ranks, broadcast_buffers, split):
    results = two_ranks(
        plain_loop,
        split(make_batches()),
        epochs=2,
        lr=0.0,
        broadcast_buffers=broadcast_buffers,
    )
    _, rolled = train_by_hand(2 * make_batches(), NUM_BATCHES, lr=0.0)
    for states in results:
        for epoch in (1, 2):
            assert_close(states[epoch]['head'], rolled[epoch * NUM_BATCHES])


def test_averaging_of_buffers_does_no_harm(tmp_path, two_ranks):
    results = two_ranks(
        train,
        uneven(make_batches()),
        work_dir=tmp_path,
        epochs=3,
        lr=0.0,
        ols=dict(interval=2),
        val_interval=1,
        hooks=[
            dict(type='SyncBuffersHook'),
            dict(type='EMAHook', momentum=0.3, update_buffers=True),
        ],
        wrapper=DDP,
    )
    counted, rolled = train_by_hand(3 * make_batches(), 2 * NUM_BATCHES, lr=0.0)
    assert_close(add_up(results, 'iterations'), counted)
    expected = {epoch: rolled[epoch * NUM_BATCHES] for epoch in (1, 2, 3)}
    assert_close(add_up(results, 'epochs'), expected)


def test_flexible_runner(tmp_path, two_ranks):
    results = two_ranks(
        train,
        uneven(make_batches()),
        work_dir=tmp_path,
        epochs=2,
        lr=0.0,
        runner_class=FlexibleRunner,
        wrapper=DDP,
        save=dict(interval=1),
    )
    _, rolled = train_by_hand(2 * make_batches(), NUM_BATCHES, lr=0.0)
    assert_close(saved_state(tmp_path / 'epoch_1.pth'), rolled[NUM_BATCHES])
    for result in results:
        assert_close(result['epochs'][2]['head'], rolled[2 * NUM_BATCHES])


# --- checkpoints ---------------------------------------------------------------------------------


@pytest.mark.parametrize('hooks', EMA.values(), ids=EMA)
@pytest.mark.parametrize('split', SPLITS[:2], ids=SPLIT_IDS[:2])
def test_checkpoint_in_the_middle_of_a_period_holds_the_sums_of_both(
    tmp_path, two_ranks, split, hooks
):
    two_ranks(
        train,
        split(make_batches(8)),
        work_dir=tmp_path,
        iters=8,
        lr=0.0,
        ols=dict(by_epoch=False, interval=5),
        save=dict(by_epoch=False, interval=3),
        hooks=hooks,
        wrapper=DDP,
    )
    _, rolled = train_by_hand(make_batches(8), 5, lr=0.0)
    for iteration in (3, 6, 8):  # 8 is no multiple of 3, but the last
        expected = rolled[iteration]
        assert expected['sample_count'].sum() > 0
        assert_close(saved_state(tmp_path / f'iter_{iteration}.pth'), expected)


@pytest.mark.parametrize('hooks', EMA.values(), ids=EMA)
def test_resuming_in_the_middle_of_a_period_counts_once(tmp_path, two_ranks, hooks):
    arguments = dict(
        parts=uneven(make_batches(8)),
        iters=8,
        ols=dict(by_epoch=False, interval=5),
        save=dict(by_epoch=False, interval=3),
        hooks=hooks,
        wrapper=DDP,
    )
    whole = two_ranks(train, work_dir=tmp_path / 'whole', **arguments)
    for iteration in (3, 6):
        resumed = two_ranks(
            train,
            work_dir=tmp_path / f'from {iteration}',
            resume_from=tmp_path / 'whole' / f'iter_{iteration}.pth',
            **arguments,
        )
        expected = add_up(whole, 'iterations')
        expected = {step: state for step, state in expected.items() if step > iteration}
        assert_close(add_up(resumed, 'iterations'), expected)
        assert_close(resumed[0]['weights'], whole[0]['weights'])


def test_resuming_in_one_process_has_the_sums_of_both(tmp_path, two_ranks):
    arguments = dict(
        iters=5,
        lr=0.0,
        ols=dict(by_epoch=False, interval=5),
        save=dict(by_epoch=False, interval=3),
    )
    parts = uneven(make_batches())
    two_ranks(train, parts, work_dir=tmp_path / 'two', wrapper=DDP, **arguments)
    checkpoint = tmp_path / 'two' / 'iter_3.pth'
    alone = train(tmp_path / 'one', make_batches(), resume_from=checkpoint, **arguments)
    _, rolled = train_by_hand(make_batches(), 5, lr=0.0)
    assert_close(alone['iterations'][4]['head'], rolled[4])
    assert_close(alone['state']['head'], rolled[5])


@pytest.mark.parametrize('hooks', EMA.values(), ids=EMA)
def test_epochs_of_an_unfinished_period(tmp_path, two_ranks, hooks):
    """Checkpoints at an epoch's end and in the middle of the next one, which is replayed."""
    arguments = dict(
        parts=uneven(make_batches()),
        epochs=2,
        lr=0.0,
        ols=dict(interval=2),
        save=dict(by_epoch=False, interval=8),
        hooks=[*hooks, dict(type='CheckpointHook', interval=1)],
        wrapper=DDP,
    )
    two_ranks(train, work_dir=tmp_path / 'whole', **arguments)
    counted, rolled = train_by_hand(2 * make_batches(), 2 * NUM_BATCHES, lr=0.0)
    for name in ('epoch_1.pth', 'iter_8.pth'):
        checkpoint = tmp_path / 'whole' / name
        assert_close(saved_state(checkpoint), counted[NUM_BATCHES])
        resumed = two_ranks(train, work_dir=tmp_path / name, resume_from=checkpoint, **arguments)
        last = max(resumed[0]['iterations'])
        assert_close(total(resumed, 'iterations', last), counted[2 * NUM_BATCHES])
        assert_close(resumed[1]['state']['head'], rolled[2 * NUM_BATCHES])


@pytest.mark.parametrize('length', [dict(iters=5), dict(epochs=1)])
def test_best_checkpoint_holds_the_sums_of_both(tmp_path, two_ranks, length):
    two_ranks(
        train,
        uneven(make_batches()),
        work_dir=tmp_path,
        lr=0.0,
        ols=dict(by_epoch='epochs' in length, interval=8),
        save=dict(by_epoch='epochs' in length, save_last=False, save_best='score', rule='greater'),
        val_interval=1,
        wrapper=DDP,
        **length,
    )
    counted, _ = train_by_hand(make_batches(), 8, lr=0.0)
    (path,) = tmp_path.glob('best_score_*.pth')
    assert_close(saved_state(path), counted[5])


def test_unforeseen_checkpoint_says_what_it_lacks(tmp_path, two_ranks):
    arguments = dict(
        parts=uneven(make_batches()), iters=4, ols=dict(by_epoch=False, interval=3), wrapper=DDP
    )
    message = "it holds rank 0's part of the unfinished soft labels only"
    partial, _ = two_ranks(train, work_dir=tmp_path / 'a', hooks=[SaveAt(2)], **arguments)
    assert message in partial['log']
    complete, _ = two_ranks(train, work_dir=tmp_path / 'b', hooks=[SaveAt(3)], **arguments)
    assert message not in complete['log']
