"""Tables across the values of one option."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from toy_rows import ROW

from mmdet_ols.experiments.evidence_page import Selection, evidence_tables

LR = 'optim_wrapper.optimizer.lr'


def row(name, lr, top1, seed=0, options='a=1'):
    """A run of a method at a learning rate; the config's own where there is none."""
    given = f'{options} {LR}={lr}' if lr else options
    return replace(
        ROW,
        settings=f'{name} {lr} {options}',
        base=f'{lr} {options}',
        name=name,
        method=name,
        options=given,
        seed=seed,
        metrics={'accuracy/top1': top1, 'other': 1.0},
    )


def tables(rows, **kwargs):
    return evidence_tables(rows, Selection(across=LR, **kwargs))


def test_values_are_columns_by_size_and_the_best_of_each_method_is_bold():
    rows = [row('hard', '0.1', 60), row('hard', '1e-2', 70), row('ols', '1e-2', 80)]
    rows += [row('ols', '0.1', 75), row('ols', '', 81), row('sce', '0.1', 50)]
    text = tables(rows, metrics=['accuracy/top1'])
    assert text.splitlines()[:5] == [
        '| top-1 error (%), lower is better | 1e-2 | 0.1 | as in the config |',
        '| --- | --- | --- | --- |',
        '| hard | **30.00** | 40.00 |  |',
        '| ols | 20.00 | 25.00 | **19.00** |',
        '| sce |  | 50.00 |  |',
    ]
    assert f'`{LR}`; n = 1; the best' in text


def test_seeds_share_a_cell():
    rows = [row('hard', '0.1', 60), row('hard', '0.1', 62, seed=1), row('hard', '1', 10)]
    text = tables(rows, metrics=['accuracy/top1'])
    assert '| hard | **39.00 ± 1.41** | 90.00 |' in text
    assert 'n = 1 to 2 (mean ± sample standard deviation)' in text


def test_runs_of_a_config_that_has_changed_since_share_no_cell():
    rows = [row('hard', '0.1', 60), row('hard', '0.1', 62, seed=1), row('hard', '1', 10)]
    rows[1] = replace(rows[1], settings='abcdef0123456789')
    lines = tables(rows, metrics=['accuracy/top1']).splitlines()
    assert lines[2:5] == [
        '| hard (hard 0) | 40.00 |  |',
        '| hard (abcdef) | 38.00 |  |',
        '| hard |  | 90.00 |',
    ]


def test_no_direction_no_best_value():
    rows = [row('hard', '0.1', 60), row('hard', '1', 60)]
    assert '| hard | 1.000 | 1.000 |' in tables(rows, metrics=['other'])


def test_rows_that_differ_in_another_option_have_a_table_each():
    rows = [row('hard', '0.1', 60), row('hard', '0.2', 61), row('hard', '0.1', 62, options='a=2')]
    text = tables(rows, metrics=['accuracy/top1'])
    assert text.count('| hard |') == 2
    # One whose name begins with that of the option is another one.
    rows[-1] = row('hard', '0.1', 62, options=f'a=1 {LR}_mult=2')
    assert tables(rows, metrics=['accuracy/top1']).count('| hard |') == 2


@pytest.mark.parametrize('option', ['x', 'lr', 'optim_wrapper'])
def test_an_option_without_values_is_an_error(option):
    message = f"--across must name an option of the rows, but got '{option}'; they have a, {LR}"
    with pytest.raises(ValueError, match=re.escape(message)):
        evidence_tables([row('hard', '0.1', 60)], Selection(across=option))


@pytest.mark.parametrize('ignored', [{'reference': 'hard'}, {'classes': True}])
def test_what_such_a_table_does_not_show_is_refused(ignored):
    with pytest.raises(ValueError, match='leave out --reference and --classes'):
        tables([row('hard', '0.1', 60)], **ignored)


def test_a_diverged_run_is_not_the_best_and_equal_ones_are_all():
    rows = [row('hard', '1', float('nan')), row('hard', '0.1', 60)]
    rows += [row('ols', '1', 60), row('ols', '0.1', 60), row('ols', '0.01', 50)]
    text = tables(rows, metrics=['accuracy/top1'])
    assert '| hard |  | **40.00** | – |' in text  # the only one with a number
    assert '| ols | 50.00 | **40.00** | **40.00** |' in text


def test_of_an_option_that_is_given_twice_the_last_value_counts():
    rows = [row('hard', '0.1', 60), row('hard', '0.2', 61, options=f'a=1 {LR}=0.1')]
    text = tables(rows, metrics=['accuracy/top1'])
    assert '| hard | 40.00 | **39.00** |' in text
