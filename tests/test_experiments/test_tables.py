"""The tables of a comparison and the notes about them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from toy_comparison import classifiers, comparison, run_with
from toy_runs import MAP

from mmdet_ols.experiments.comparison import Comparison
from mmdet_ols.experiments.tables import (
    class_table,
    duration,
    main_table,
    notes,
    overview,
    recorded,
)
from mmdet_ols.experiments.writing import to_markdown
from mmdet_ols.results.metrics import metric_of
from mmdet_ols.results.run_folder import Run


def test_the_table_pairs_by_seed():
    header, rows = main_table(comparison(failed={('ols', 2): 'exit status 1\nTraceback'}))
    assert header == [
        'metric', 'method', 'mean', 'sd', 'n', 'difference to hard', '95 % interval',
        'time a run (median)',
    ]  # fmt: skip
    interval = stats.ttest_rel([83, 82], [80, 82]).confidence_interval()
    assert rows == [
        ['mAP (%), higher is better', 'hard', '81.00', '1.00', '3', '', '', '1 min 00 s'],
        [
            'mAP (%), higher is better', 'ols', '82.50', '0.71', '2', '+1.50',
            f'{interval.low:+.2f} to {interval.high:+.2f}', '1 min 30 s',
        ],
    ]  # fmt: skip


def test_a_run_that_was_interrupted_overnight_leaves_the_time_of_the_others():
    ours = comparison()
    ours.runs['hard', 1].seconds = 36_000.0
    assert main_table(ours)[1][0][-1] == '1 min 00 s'


def test_the_difference_is_over_the_seeds_that_both_have():
    both = comparison()
    both.runs['hard', 1] = Run('unused', 2)
    row = main_table(both)[1][1]
    assert row[4:7] == ['2', '+3.00', '– (1 pair)']  # only seed 0
    both.runs['ols', 2] = run_with({MAP: 0.85})
    assert main_table(both)[1][1][6].endswith(' (2 pairs)')


def test_curves_are_of_finished_runs():
    ours = comparison()
    ours.runs['ols', 2].validations[1] = {MAP: 0.0}  # still running
    curve = ours.curve('ols', metric_of(MAP))
    assert {epoch: point.mean for epoch, point in curve.items()} == {1: 41.25, 2: 82.5}
    np.testing.assert_allclose(curve[2].sd, 0.5**0.5)


def test_the_best_epoch_is_a_column_beside_the_last():
    """By top-1; top-5 is that of the same epoch, though its own best is another one."""
    ours = Comparison(classifiers(), best_is_of_test=True)
    header, rows = main_table(ours)
    assert header[-1] == 'best epoch'
    assert [[row[0].partition(',')[0], row[2], row[-1]] for row in rows] == [
        ['top-1 error (%)', '25.00', '21.00 ± 1.41'],  # 20 and 22
        ['top-5 error (%)', '3.50', '4.00 ± 1.41'],  # 3 and 5
        ['train top-1 error (%)', '4.50', '–'],  # not measured then
        ['cifar10h KL (nats)', '0.300', '–'],
    ]
    assert any('chosen on the test set' in note for note in notes(ours))
    without = Comparison(classifiers())
    assert main_table(without)[0][-1] == 'time a run (median)'
    assert not any('best epoch:' in note for note in notes(without))


def test_the_overview_has_every_measurement_in_its_unit():
    runs = {**classifiers(), ('ols', 0): Run('unused', 3, 3, {3: {'accuracy/top1': 80.0}})}
    assert overview(Comparison(runs)) == (
        ['', 'ce', 'ols'],
        [
            ['top-1 error (%), lower is better', '25.00 ± 1.41', '20.00'],
            ['top-5 error (%), lower is better', '3.50 ± 3.54', '–'],
            ['train top-1 error (%), lower is better', '4.50 ± 0.71', '–'],
            ['cifar10h KL (nats), lower is better', '0.300 ± 0.071', '–'],
        ],
    )
    assert '| top-1 error (%), lower is better | 25.00 ± 1.41 | 20.00 |' in to_markdown(
        Comparison(runs), {}
    )


def test_classes_errors_and_the_papers_figures():
    assert class_table(comparison()) == (
        ['AP (%)', 'hard', 'ols'], [['dog', '40.50 ± 0.50', '50.00 ± 0.00']],
    )  # fmt: skip
    paper = {'ols': [dict(table='X', metric=MAP, value=82.7)]}
    header, rows = main_table(comparison(paper=paper))
    assert header[-1] == 'paper' and [row[-1] for row in rows] == ['', '82.70 (Table X)']
    logged = {'accuracy/top1': 80.0, 'accuracy/top5': 95.0, 'cifar10h/kl': 0.25}
    paper = [
        dict(metric='cifar10h/kl', value=0.3),
        dict(table='II', metric='top5_error', value=4.0, std=0.5),
        dict(metric='accuracy/top1', value=78.0),
    ]
    header, rows = main_table(Comparison({('ce', 0): run_with(logged)}, {'ce': paper}))
    assert [row[:3] + row[-1:] for row in rows] == [
        ['cifar10h KL (nats), lower is better', 'ce', '0.250', '0.300'],
        ['top-1 error (%), lower is better', 'ce', '20.00', '22.00'],
        ['top-5 error (%), lower is better', 'ce', '5.00', '4.00 ± 0.50 (Table II)'],
    ]


def test_that_the_paper_tests_otherwise_is_said_where_its_figures_are_shown():
    paper = {'ols': [dict(table='X', metric=MAP, value=82.7)]}
    said = [
        any('--tta' in note for note in notes(comparison(**kwargs)))
        for kwargs in (dict(paper=paper), dict(paper=paper, tta=True), dict())
    ]
    assert said == [True, False, False]


def test_how_the_runs_were_made_is_what_they_recorded():
    old, new = {'machine': 'old', 'jobs': '1'}, {'machine': 'new', 'jobs': '1'}
    runs = [('hard', 0), ('hard', 1), ('hard', 2), ('ols', 0), ('ols', 1)]
    made = {run: [old] for run in runs}
    made['ols', 2] = [{'machine': 'of a run that is not finished'}]
    assert recorded(comparison(made=made)) == [['machine', 'old'], ['jobs', '1']]
    made['ols', 1] = [old, new]  # interrupted, and gone on with elsewhere
    rows = [['machine', 'old'], ['machine', 'new (ols seed 1)'], ['jobs', '1']]
    assert recorded(comparison(made=made)) == rows
    del made['hard', 0], made['hard', 1]
    assert ['made', 'not recorded (hard seed 0, hard seed 1)'] in recorded(comparison(made=made))
    assert '| made | not recorded |' in to_markdown(comparison(), {})


def test_what_is_not_in_the_table_is_said():
    failed = comparison(failed={('ols', 2): 'exit status 1\nTraceback'})
    assert any('FAILED' in note and 'ols seed 2: exit status 1' in note for note in notes(failed))
    assert any('Not finished yet' in note and 'ols seed 2' in note for note in notes(comparison()))
    assert not any('Traceback' in note for note in notes(failed))
    misspelt = comparison(primary='pascal_voc/map')
    assert misspelt.metrics[0].key == MAP
    assert any('No run logged pascal_voc/map, only pascal_voc/mAP' in n for n in notes(misspelt))
    assert comparison(primary='pascal_voc/AP/dog').metrics[0].title == 'dog'


@pytest.mark.parametrize(
    ('seconds', 'text'),
    [
        (12.4, '12 s'),
        (200, '3 min 20 s'),
        (3725, '1 h 02 min'),
        (3_599_999, '999 h 59 min'),
        (3_600_000, '1,000 h'),
        (4_444_444, '1,235 h'),
        (float('nan'), '–'),
    ],
)
def test_durations_are_readable(seconds, text):
    assert duration(seconds) == text


def test_what_nobody_describes_is_shown_as_it_is_logged():
    runs = {('ce', 0): run_with({'own/score': 2.0, 'other/score': 0.5})}
    header, rows = main_table(Comparison(runs, best_is_of_test=True))
    assert [row[0] for row in rows] == [
        f'{key}/score, direction unknown' for key in ('own', 'other')
    ]
    assert 'best epoch' not in header  # of two directions
    said = [note for note in notes(Comparison(runs)) if 'lower or higher' in note]
    assert len(said) == 1 and 'own/score, other/score' in said[0]
    told = Comparison(
        runs, primary='other/score', primary_lower_is_better=True, best_is_of_test=True
    )
    header, rows = main_table(told)
    assert rows[0][0] == 'other/score, lower is better'
    assert rows[0][header.index('best epoch')] == '0.250'  # at the first epoch
    known = Comparison({('ce', 0): run_with({MAP: 0.5})}, primary=MAP, primary_lower_is_better=True)
    assert known.metrics[0].described == 'mAP (%), higher is better'


def test_what_the_paper_says_about_a_figure_is_a_note():
    figure = dict(table='X', metric=MAP, value=82.7, sd=0.25, note='the mean of three runs')
    ours = comparison(paper={'ols': [figure]})
    assert main_table(ours)[1][1][-1] == '82.70 ± 0.25 (Table X)'
    assert 'The paper: the mean of three runs' in notes(ours)


def test_that_methods_could_not_be_undone_is_said():
    said = [note for note in notes(comparison(compared_as_they_are=['ols'])) if 'as they' in note]
    assert len(said) == 1 and 'ols' in said[0]
    assert not any('as they are' in note for note in notes(comparison()))
