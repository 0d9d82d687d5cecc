"""Reading what MMEngine leaves in a run's folder."""

from __future__ import annotations

import json
from inspect import signature

import pytest
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from toy_runs import MAP, checkpoint, make_scalars, make_start, trained, validated

from mmdet_ols.results.run_folder import read_lines, read_run, val_interval_of


def test_a_run_that_never_began(tmp_path):
    run = read_run(tmp_path / 'absent', 3)
    assert (run.done, run.final, run.trained, run.last_checkpoint) == (0, None, False, None)


def test_the_last_epoch_counts_and_the_best_is_recorded(tmp_path):
    lines = [trained(1), validated(1, 0.3), trained(2), validated(2, 0.5), trained(3)]
    make_start(tmp_path, '20260101_235950', [*lines, validated(3, 0.4)], '2026/01/02 00:01:00')
    checkpoint(tmp_path, 'epoch_3.pth')
    run = read_run(tmp_path, 3)
    assert run.final == {MAP: 0.4} and run.best(MAP) == (2, 0.5)
    assert run.best(MAP, lower_is_better=True) == (1, 0.3)
    assert run.done == 3 and run.seconds == 70
    assert run.last_checkpoint == tmp_path / 'epoch_3.pth'


def test_a_resumed_run_is_read_as_one(tmp_path):
    """The first start had validated epochs that the second one trained and validated again."""
    first = [trained(1), validated(1, 0.1), trained(2), validated(2, 0.9), trained(3)]
    make_start(tmp_path, '20260101_000000', first, '2026/01/01 00:01:00')
    make_start(tmp_path, '20260101_100000', [], '2026/01/01 10:00:05')  # ended before it learned
    second = [trained(2), validated(2, 0.2), trained(3), validated(3, 0.3)]
    make_start(tmp_path, '20260102_000000', second, '2026/01/02 00:00:30')
    run = read_run(tmp_path, 3)
    assert {epoch: values[MAP] for epoch, values in run.validations.items()} == {
        1: 0.1, 2: 0.2, 3: 0.3,
    }  # fmt: skip
    assert run.seconds == 90


def test_what_was_lost_with_the_checkpoints_does_not_count(tmp_path):
    make_start(tmp_path, '20260101_000000', [trained(3), validated(3, 0.9)])
    make_start(tmp_path, '20260102_000000', [trained(1), validated(1, 0.1), trained(2)])
    run = read_run(tmp_path, 3)
    assert run.final is None and list(run.validations) == [1] and run.done == 1


def test_an_interrupted_run_is_not_finished(tmp_path):
    make_start(tmp_path, '20260101_000000', [trained(1), validated(1, 0.1), trained(2)])
    path = tmp_path / '20260101_000000' / 'vis_data' / '20260101_000000.json'
    path.write_text(path.read_text() + '{"pascal_voc/mAP": 0.5, "st')  # cut short while written
    run = read_run(tmp_path, 2)
    assert run.final is None and not run.trained and run.done == 1


def test_progress_within_an_epoch_is_that_of_the_log(tmp_path):
    log = '2026/01/01 00:00:40 - mmengine - INFO - Epoch(train)  [2][ 5/20]  lr: 1\n'
    make_start(tmp_path, '20260101_000000', [trained(1), trained(2)])
    (tmp_path / '20260101_000000' / '20260101_000000.log').write_text(log)
    assert read_run(tmp_path, 3).done == 1.25


def test_interrupted_in_the_last_validation_it_only_needs_a_test(tmp_path):
    make_start(tmp_path, '20260101_000000', [trained(1), trained(2)])
    checkpoint(tmp_path, 'epoch_2.pth')
    run = read_run(tmp_path, 2)
    assert run.trained and run.final is None
    checkpoint(tmp_path, 'epoch_12.pth')
    assert not read_run(tmp_path, 2).trained


def test_a_checkpoint_of_as_many_iterations_is_not_that_of_the_last_epoch(tmp_path):
    """As of `CheckpointHook(by_epoch=False)` in a loop of epochs."""
    make_start(tmp_path, '20260101_000000', [trained(1)])
    checkpoint(tmp_path, 'iter_90.pth')
    assert not read_run(tmp_path, 90).trained
    assert read_run(tmp_path, 90, by_epoch=False).trained
    checkpoint(tmp_path, 'epoch_90.pth')
    assert read_run(tmp_path, 90).trained
    assert not read_run(tmp_path, 90, by_epoch=False).trained


@pytest.mark.parametrize('text', ['', '{"pascal_voc/mAP": 0.7, "ti'])
def test_a_result_that_is_cut_short_is_none(tmp_path, text):
    """As it is while the test writes it, and where a disk was full."""
    make_start(tmp_path, '20260101_000000', [trained(1)])
    for stamp, result in (('20260101_120000', json.dumps({MAP: 0.7})), ('20260102_120000', text)):
        (tmp_path / 'test' / stamp).mkdir(parents=True)
        (tmp_path / 'test' / stamp / f'{stamp}.json').write_text(result)
    run = read_run(tmp_path, 1, test_folder=tmp_path / 'test', needs_test=True)
    assert run.final == {MAP: 0.7}
    (tmp_path / 'test' / '20260101_120000' / '20260101_120000.json').unlink()
    run = read_run(tmp_path, 1, test_folder=tmp_path / 'test', needs_test=True)
    assert run.final is None


@pytest.mark.parametrize(
    ('stamp', 'counts'), [('20260103_000000', True), ('20260101_120000', False)]
)
def test_a_test_counts_if_it_is_of_the_last_training(tmp_path, stamp, counts):
    make_start(tmp_path, '20260102_000000', [trained(1), validated(1, 0.1)])
    result = tmp_path / 'test' / stamp
    result.mkdir(parents=True)
    (result / f'{stamp}.json').write_text(json.dumps({MAP: 0.7, 'time': 1.0}))
    assert read_run(tmp_path, 1).final == {MAP: 0.1}
    assert read_run(tmp_path, 1, test_folder=tmp_path / 'test').final == {
        MAP: 0.7 if counts else 0.1
    }
    run = read_run(tmp_path, 1, test_folder=tmp_path / 'test', needs_test=True)
    assert run.final == ({MAP: 0.7} if counts else None)


def test_a_test_stands_for_a_last_validation_that_was_cut_short(tmp_path):
    lines = [trained(1), validated(1, 0.1), trained(2)]
    make_start(tmp_path, '20260101_000000', lines)
    stamp = '20260102_000000'
    (tmp_path / 'test' / stamp).mkdir(parents=True)
    (tmp_path / 'test' / stamp / f'{stamp}.json').write_text(json.dumps({MAP: 0.7}))
    run = read_run(tmp_path, 2, test_folder=tmp_path / 'test')
    assert run.final == {MAP: 0.7} and run.best(MAP) == (2, 0.7)
    other = read_run(tmp_path, 2, test_folder=tmp_path / 'test', needs_test=True)
    assert other.best(MAP) == (1, 0.1)  # validations see other data


def test_an_iteration_based_run_counts_iterations(tmp_path):
    """MMEngine writes its validations as epoch 0 and its training lines as epoch 1."""
    lines = [trained(1, 50), validated(0, 0.1), trained(1, 100), validated(0, 0.2)]
    make_start(tmp_path, '20260101_000000', lines)
    run = read_run(tmp_path, 100, by_epoch=False)
    assert list(run.validations) == [50, 100] and run.final == {MAP: 0.2} and run.done == 100


def test_what_hooks_measured_joins_the_validations_and_the_test(tmp_path):
    """Resumed in its second epoch, which was measured twice; the soft labels are no measurement."""
    key, wrong = 'train/top1_error', 'train/wrong_label_error'

    def measured(epoch, value):
        return [{key: value, wrong: 90.0 + epoch, 'step': epoch}]

    first = [trained(1), {'ols/head/entropy': 2.0, 'step': 1}, *measured(1, 50.0)]
    first += [validated(1, 0.1), trained(2), *measured(2, 99.0)]
    second = [trained(2), {'ols/head/entropy': 1.0, 'step': 2}]
    second += [*measured(2, 30.0), validated(2, 0.2)]
    for stamp, lines in (('20260101_000000', first), ('20260102_000000', second)):
        make_start(tmp_path, stamp, [line for line in lines if 'iter' in line or MAP in line])
        make_scalars(tmp_path, stamp, lines)
    run = read_run(tmp_path, 2)
    assert run.final == {MAP: 0.2, key: 30.0, wrong: 92.0}
    assert run.over_time(key) == {1: 50.0, 2: 30.0} and run.over_time(MAP) == {1: 0.1, 2: 0.2}
    assert run.best(key, lower_is_better=True) == (2, 30.0)
    result = tmp_path / 'test' / '20260103_000000'
    result.mkdir(parents=True)
    (result / '20260103_000000.json').write_text(json.dumps({'fgsm/top1_error': 70.0, MAP: 0.3}))
    tested = read_run(tmp_path, 2, test_folder=tmp_path / 'test', needs_test=True)
    assert tested.final == {'fgsm/top1_error': 70.0, MAP: 0.3, key: 30.0, wrong: 92.0}
    assert read_run(tmp_path, 2, needs_test=True).final is None


def test_a_file_that_grew_or_changed_is_read_again(tmp_path):
    make_start(tmp_path, '20260101_000000', [trained(1), validated(1, 0.1)])
    path = tmp_path / '20260101_000000' / 'vis_data' / '20260101_000000.json'
    assert read_run(tmp_path, 2).over_time(MAP) == {1: 0.1}
    path.write_text(path.read_text() + json.dumps(trained(2)) + '\n')
    assert len(read_lines(tmp_path, 2)) == 3
    path.write_text(path.read_text().replace('0.1,', '0.9,'))  # of the same size
    assert read_run(tmp_path, 2).over_time(MAP) == {1: 0.9}


def test_without_a_direction_there_is_no_best_epoch(tmp_path):
    make_start(tmp_path, '20260101_000000', [trained(1), validated(1, 0.1)])
    assert read_run(tmp_path, 1).best(MAP, None) is None


def test_a_value_that_is_no_number_is_not_the_best(tmp_path):
    lines = [trained(1), validated(1, float('nan')), trained(2), validated(2, 0.1)]
    make_start(tmp_path, '20260101_000000', lines)
    run = read_run(tmp_path, 2)
    assert run.best(MAP) == run.best(MAP, lower_is_better=True) == (2, 0.1)
    run.validations[2][MAP] = float('nan')
    assert run.best(MAP) is None


def test_an_empty_pointer_names_no_checkpoint(tmp_path):
    """A full disk or a loss of power leaves it so."""
    make_start(tmp_path / 'seed_1', '20260101_000000', [trained(1)])
    (tmp_path / 'seed_1' / 'last_checkpoint').write_text('')
    run = read_run(tmp_path / 'seed_1', 1)
    assert run.last_checkpoint is None and not run.trained


def test_the_interval_of_validations_is_that_of_the_loop():
    defaults = {EpochBasedTrainLoop: dict(max_epochs=9), IterBasedTrainLoop: dict(max_iters=9)}
    for loop, train_cfg in defaults.items():
        default = signature(loop).parameters['val_interval'].default
        assert val_interval_of(train_cfg) == default
        assert val_interval_of(dict(train_cfg, val_interval=4)) == 4
