"""The paper's figures are drawn from what the runs logged, and say what is missing."""

from __future__ import annotations

import base64
import os
import shlex
from pathlib import Path

import numpy as np
import pytest
from toy_results import made_result, the_cell

from mmdet_ols.experiments.states import State, note_failure
from mmdet_ols.paper import cells
from mmdet_ols.reproduction.drawings import curve, drawings, sweep, swept_value
from mmdet_ols.reproduction.features import FIGURE, picture_task
from mmdet_ols.results.run_folder import Run


def curved(method, noise, test, training, wrong=(), table='Fig. 4'):
    """A cell whose runs have these curves, a list of values an epoch for each."""
    runs = {}
    for seed, (errors, train) in enumerate(zip(test, training)):
        run = Run(Path('runs'), 3)
        for epoch, (error, own) in enumerate(zip(errors, train), 1):
            run.validations[epoch] = {'accuracy/top1': 100 - error}
            run.measured[epoch] = {'train/top1_error': own}
            if wrong:
                run.measured[epoch]['train/wrong_label_error'] = wrong[seed][epoch - 1]
        runs[seed] = run
    cell = the_cell(table, 'resnet56', method, noise)
    return made_result(cell, {}, runs=runs, states=dict.fromkeys(runs, State('finished')))


def drawn(results, name, folder=Path('nowhere')):
    (drawing,) = [drawing for drawing in drawings(results, folder) if drawing.name == name]
    return drawing


def test_curves_are_means_over_the_seeds():
    test = [[60.0, 40.0, 30.0], [64.0, 42.0, 36.0]]
    cell = curved('ols', 40, test, [[70.0, 60.0, 50.0]] * 2)
    actual = curve(cell, 'accuracy/top1')
    assert list(actual) == [1, 2, 3]
    assert [point.mean for point in actual.values()] == pytest.approx(np.mean(test, axis=0))
    assert [point.sd for point in actual.values()] == pytest.approx(np.std(test, axis=0, ddof=1))


def test_a_run_that_has_just_begun_does_not_cut_the_curve():
    cell = curved('ols', 40, [[60.0, 40.0, 30.0], [90.0]], [[70.0, 60.0, 50.0], [95.0]])
    assert list(curve(cell, 'accuracy/top1')) == [1, 2, 3]
    begun = curved('ols', 40, [[60.0, 40.0], [90.0]], [[70.0, 60.0], [95.0]])
    assert curve(begun, 'accuracy/top1')[1].mean == 75.0 and list(curve(begun, 'x')) == []


def test_figure_4_compares_the_errors_at_the_end():
    training = [[50.0, 40.0, 30.0], [50.0, 40.0, 30.2]]
    made = [
        curved('hard', 40, [[60.0, 50.0, 47.0], [61.0, 51.0, 47.5]], [[50.0, 30.0, 10.0]] * 2),
        curved('ols', 40, [[60.0, 45.0, 39.0], [61.0, 45.0, 39.6]], training),
        curved('ls', 20, [], []),
    ]
    figure = drawn(made, 'Fig. 4')
    assert [chart['title'] for chart in figure.charts] == ['40 % wrong labels']
    assert figure.missing == ['20 % wrong labels: LS']
    assert [item[:2] for item in figure.charts[0]['legend']] == [
        ('Hard labels', '47.25'), ('OLS', '39.30')
    ]  # fmt: skip
    assert figure.verdicts == [
        '40 % wrong labels, training error: OLS to Hard labels +20.10 [+18.83, +21.37]: holds.',
        '40 % wrong labels, test error: OLS to Hard labels −7.95 [−8.59, −7.31]: holds.',
    ]
    assert figure.charts[0]['svg'].count('stroke-dasharray: 6.66') == 2  # the training errors


def test_figure_5_is_about_the_wrong_labels():
    errors = [[50.0, 40.0, 30.0]] * 2
    made = [
        curved(method, 40, errors, errors, wrong, 'Fig. 5')
        for method, wrong in (('hard', [[90.0, 80.0, 70.0], [90.0, 80.0, 71.0]]),
                              ('ols', [[95.0, 93.0, 68.0], [95.0, 93.0, 67.0]]))
    ]  # fmt: skip
    figure = drawn(made, 'Fig. 5')
    assert figure.charts[0]['legend'][1][:2] == ('OLS', '67.50')
    assert 'OLS to Hard labels −3.00' in figure.verdicts[0]
    assert 'cannot be told below 12.71' in figure.verdicts[0]


def test_figure_7_is_drawn_over_the_values():
    made = [
        made_result(cell, {0: 93.0 + swept_value(cell_result(cell)), 1: 93.2})
        for cell in cells('Fig. 7a')
    ]
    points = sweep(made)
    assert list(points) == pytest.approx(np.arange(1, 11) / 10)
    assert points[0.3].mean == pytest.approx(100 - (93.3 + 93.2) / 2)
    hard = made_result(the_cell('VIII', 'resnet29', 'hard'), {0: 92.0})
    figure = drawn([*made[:-1], made_result(made[-1].cell, {}), hard], 'Fig. 7a')
    assert figure.missing == ['alpha 1']
    assert [item[:2] for item in figure.charts[0]['legend']] == [
        ('OLS', 'lowest 6.45 at 0.9'), ('Hard labels (Table VIII), dotted', '8.00')
    ]  # fmt: skip
    periods = {swept_value(cell_result(cell)) for cell in cells('Fig. 7b')}
    assert periods == {12, 24, 48, 96, 192, 384, 768, 1536, 3072}


def cell_result(cell):
    return made_result(cell, {})


def test_figure_7_has_no_level_of_other_data():
    cell = cells('Fig. 7a')[0]
    moved = made_result(cell, {0: 70.0}, config='cifar100/resnet29_cifar100.py')
    hard = made_result(the_cell('VIII', 'resnet29', 'hard'), {0: 92.0})
    assert len(drawn([moved, hard], 'Fig. 7a').charts[0]['legend']) == 1


def test_figure_3_is_drawn_once_all_its_networks_are_there(tmp_path):
    made = []
    for method in ('hard', 'ls', 'ols'):
        folder = tmp_path / method
        folder.mkdir()
        (folder / 'config.py').write_text('')
        run = Run(folder, 300, 300, {300: {'accuracy/top1': 70.0}})
        run.last_checkpoint = folder / 'epoch_300.pth'
        made.append(made_result(the_cell(FIGURE, 'resnet56', method), {}, runs={0: run}))
    for method in ('hard', 'ols'):
        (tmp_path / method / 'epoch_300.pth').write_bytes(b'')
    assert picture_task(made, tmp_path) is None
    assert drawn(made, FIGURE, tmp_path).missing == ['No checkpoint is there of LS.']
    (tmp_path / 'ls' / 'epoch_300.pth').write_bytes(b'')

    task, picture = picture_task(made, tmp_path), tmp_path / 'features' / 'features.png'
    pairs = ' '.join(f'{tmp_path}/{m}/config.py {tmp_path}/{m}/epoch_300.pth'
                     for m in ('hard', 'ls', 'ols'))  # fmt: skip
    words = f"{pairs} --titles 'Hard labels' LS OLS --split train --out {picture}"
    assert shlex.join(task.next_command()[3:]) == words
    assert drawn(made, FIGURE, tmp_path).missing == [f'There is no picture at {picture}.']
    note_failure(task.folder, 'exit status 1\nno scikit-learn')
    assert drawn(made, FIGURE, tmp_path).missing[0].endswith(f'{picture}: no scikit-learn')
    picture.write_bytes(b'picture')
    assert task.next_command() is None
    figure = drawn(made, FIGURE, tmp_path)
    assert figure.picture == 'data:image/png;base64,' + base64.b64encode(b'picture').decode()
    assert not figure.missing
    os.utime(picture, (0, 0))  # which is of networks that were trained again since
    assert task.next_command() is not None


def test_what_is_not_planned_is_said():
    missing = {drawing.name: list(drawing.missing) for drawing in drawings([], Path('nowhere'))}
    for name in ('Fig. 3', 'Fig. 4', 'Fig. 5', 'Fig. 7a', 'Fig. 7b'):
        assert missing[name] == ['No run of this figure is planned.']
