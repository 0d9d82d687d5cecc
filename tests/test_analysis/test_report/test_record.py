"""What the report reads from a work directory: restarts merged, loops of epochs and iterations."""

from __future__ import annotations

import pytest
import torch
from toy_work_dir import CONFIG, Reader, epoch_end, make_test, start, step

from mmdet_ols.analysis.report import write_report
from mmdet_ols.analysis.report.record import read_curves, read_training
from mmdet_ols.analysis.split_data import run_seed
from mmdet_ols.checks import entries
from mmdet_ols.results.run_folder import read_run, training_folders


def test_what_a_resumed_run_trained_again_counts_once(tmp_path):
    start(
        tmp_path,
        '20260101_000000',
        [step(1, 10, loss=9.0), step(1, 20, loss=8.0), *epoch_end(1, 0.1), step(2, 30, loss=7.0),
         *epoch_end(2, 0.2), step(3, 50, loss=6.0)],
    )  # fmt: skip
    # Resumed after epoch 1, with another interval of logging; cut short while it wrote.
    start(tmp_path, '20260102_000000', [step(2, 40, loss=5.0), *epoch_end(2, 0.3)])
    with (tmp_path / '20260102_000000/vis_data/scalars.json').open('a') as file:
        file.write('{"loss": 3.')
    make_test(tmp_path, '20260103_000000')
    curves = read_curves(tmp_path, 4)
    assert [(line['step'], line['loss']) for line in curves.training] == [(10, 9), (20, 8), (40, 5)]
    actual = [(line['step'], line['pascal_voc/mAP']) for line in curves.epochs if 'time' in line]
    assert actual == [(1, 0.1), (2, 0.3)]


def test_iteration_based_runs_are_merged_by_iteration(tmp_path):
    def lines(*numbers):
        return [dict(loss=float(n), iter=n, step=n) for n in numbers]

    start(tmp_path, '20260101_000000', [*lines(5, 10), {'acc': 0.1, 'step': 10}, *lines(15)])
    start(tmp_path, '20260102_000000', [*lines(11, 16), {'acc': 0.2, 'step': 20}])
    curves = read_curves(tmp_path, 20, by_epoch=False)
    assert [line['step'] for line in curves.training] == [5, 10, 11, 16]
    assert [line['acc'] for line in curves.epochs] == [0.1, 0.2]


ITERATIONS = 'train_cfg = dict(by_epoch=False, max_iters=10, val_interval=4)'


def test_iteration_based_run_that_logs_seldom(tmp_path):
    """As MMEngine leaves it by default: no `epoch`, and all validations at step 0."""

    def validation(value):
        return {'accuracy/top1': value, 'data_time': 0.1, 'time': 0.2, 'step': 0}

    trained = {'loss': 0.5, 'iter': 4, 'step': 4}
    config = CONFIG.replace('train_cfg = dict(max_epochs=4)', ITERATIONS)
    lines = [trained, validation(50.0), {'ols/head/confidence': 0.6, 'step': 6}, validation(60.0)]
    start(tmp_path, '20260101_000000', lines, config)
    # Goes on from the checkpoint before the second validation, and logs only validations.
    start(tmp_path, '20260102_000000', [validation(80.0), validation(70.0)], config)
    log = tmp_path / '20260102_000000/20260102_000000.log'
    log.write_text('2026/01/02 00:00:09 - mmengine - INFO - resumed epoch: 0, iter: 4\n')
    make_test(tmp_path, '20260103_000000')
    run = read_run(tmp_path, 10, by_epoch=False, val_interval=4)
    values = {step: metrics['accuracy/top1'] for step, metrics in run.validations.items()}
    assert values == {4: 50.0, 8: 80.0, 10: 70.0} and run.done == 10
    curves = read_curves(tmp_path, 10, by_epoch=False, val_interval=4)
    assert [line['step'] for line in curves.epochs] == [4, 8, 10]
    text = Reader(write_report(tmp_path).read_text()).text
    assert '10 of 10 iterations' in text and 'Best accuracy/top1, iteration 8' in text


def test_a_resumed_run_that_only_validated_is_no_test(tmp_path):
    start(tmp_path, '20260101_000000', [step(1, 10, loss=1.0), *epoch_end(1, 0.1)])
    start(tmp_path, '20260102_000000', epoch_end(2, 0.2)[1:])
    make_test(tmp_path, '20260103_000000')
    # One that logs its result to both.
    start(tmp_path, '20260104_000000', epoch_end(3, 0.9)[1:])
    (tmp_path / '20260104_000000/20260104_000000.json').write_text('{}')
    starts = [folder.name for folder in training_folders(tmp_path)]
    assert starts == ['20260101_000000', '20260102_000000']
    assert list(read_run(tmp_path, 2).validations) == [1, 2]


def test_a_run_is_read_once_into_one_record(tmp_path):
    start(tmp_path, '20260101_000000', [step(1, 10, loss=1.0), *epoch_end(1, 0.1)])
    start(tmp_path, '20260102_000000', [step(2, 20, loss=0.5)])
    log = tmp_path / '20260102_000000/20260102_000000.log'
    log.write_text('    Python: 3.11.9\n    GPU 0,1: NVIDIA H100\n    GCC: n/a\n')

    def name_place(cfg):
        cfg.place = f'{cfg.train_dataloader.dataset.data_root} here'

    options = {'train_dataloader.dataset.data_root': 'moved'}
    record = read_training(tmp_path, options=options, change_config=name_place)
    assert record.cfg.place == 'moved here'
    assert record.schedule == ('epoch', 4, 1) and record.period == 'epoch'
    assert record.cfg.train_dataloader.dataset.data_root == 'moved'
    assert record.machine == [('Python', '3.11.9'), ('GPU 0,1', 'NVIDIA H100')]
    assert record.run.validations == {1: {'pascal_voc/mAP': 0.1, 'pascal_voc/AP/plain': 0.05}}
    assert [line['step'] for line in record.curves.training] == [10, 20]
    assert (record.checkpoint, record.content, record.history, record.classes) == (None, {}, {}, [])
    assert record.notes == ['There is no checkpoint yet, so the report says nothing about images.']


def test_an_option_that_nothing_reads_is_said(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(entries, 'warn', said.append)
    start(tmp_path, '20260101_000000', [step(1, 10, loss=1.0)])
    read_training(tmp_path, options={'load_form': 'x.pth'})
    assert len(said) == 1 and 'did you mean `load_from`?' in said[0]
    with pytest.raises(ValueError, match=r'below dicts.*--cfg-options train_cfg\.max_epochs\.x=2'):
        read_training(tmp_path, options={'train_cfg.max_epochs.x': 2})


@pytest.mark.parametrize(
    ('losses', 'since'),
    [((2, float('inf'), 1, float('nan'), float('inf')), 4), ((2, float('nan'), 1), None)],
)
def test_a_training_that_diverged_is_noted(tmp_path, losses, since):
    lines = [step(1, number, lr=0.1, loss=loss) for number, loss in enumerate(losses, 1)]
    start(tmp_path, '20260101_000000', lines)
    said = [note for note in read_training(tmp_path).notes if 'diverged' in note]
    noted = f'The training diverged: its losses are not finite from iteration {since} on.'
    assert said == ([noted] if since else [])


@pytest.mark.parametrize('exists', [True, False])
def test_other_folders_are_refused(tmp_path, exists):
    folder = tmp_path if exists else tmp_path / 'absent'
    with pytest.raises(FileNotFoundError, match='must be the work directory of a training'):
        write_report(folder)


def test_a_run_of_a_comparison_is_named(tmp_path):
    for seed in (0, 1):
        start(tmp_path / f'ols/seed_{seed}', '20260101_000000', [step(1, 9, loss=1.0)])
    with pytest.raises(FileNotFoundError, match='holds none: name one .* such as .*/ols/seed_0.$'):
        write_report(tmp_path)


def test_the_folder_of_a_checkpoint_is_named(tmp_path):
    (tmp_path / 'epoch_1.pth').touch()
    with pytest.raises(FileNotFoundError, match=f'but it is a file: name its folder, {tmp_path}'):
        write_report(tmp_path / 'epoch_1.pth')


@pytest.mark.parametrize(('own', 'expected'), [('', 5), ('randomness = dict(seed=7)', 7)])
def test_a_seed_that_was_drawn_is_that_of_the_checkpoint(tmp_path, own, expected):
    start(tmp_path, '20260101_000000', epoch_end(1, 0.1), f'{CONFIG}\n{own}\n')
    torch.save(dict(state_dict={}, meta=dict(epoch=1, iter=2, seed=5)), tmp_path / 'epoch_1.pth')
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_1.pth'))
    record = read_training(tmp_path)
    assert record.checkpoint is not None and run_seed(record.cfg) == expected
