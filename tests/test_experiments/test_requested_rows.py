"""Which rows a command line asks for."""

from __future__ import annotations

import re

import pytest

from mmdet_ols.experiments.comparison import Sweep
from mmdet_ols.experiments.requested_rows import requested_rows, with_needed_rows
from mmdet_ols.experiments.specification import Request


def test_plain_configs_and_variants_are_rows_as_they_are():
    rows, sweep = requested_rows(
        ['a/hard.py', 'ols.py'], variants=[('mine', 'b.py', 'x.y=2')], options=['z=1']
    )
    assert rows == [
        Request('hard', 'a/hard.py', None, ('z=1',)),
        Request('ols', 'ols.py', None, ('z=1',)),
        Request('mine', 'b.py', None, ('z=1', 'x.y=2')),
    ]
    assert sweep is None


def test_methods_name_the_rows_of_one_config():
    rows, _ = requested_rows(['a/mine.py'], ['hard', 'ols:alpha=0.3'], options=['z=1'])
    assert rows == [
        Request('hard', 'a/mine.py', 'hard', ('z=1',)),
        Request('ols_alpha0.3', 'a/mine.py', 'ols:alpha=0.3', ('z=1',)),
    ]


def test_with_several_configs_the_rows_are_named_by_both():
    rows, _ = requested_rows(['a.py', 'b.py'], ['hard', 'ols'], [('mine', 'c.py')])
    assert [(row.name, row.config, row.method) for row in rows] == [
        ('a_hard', 'a.py', 'hard'), ('a_ols', 'a.py', 'ols'),
        ('b_hard', 'b.py', 'hard'), ('b_ols', 'b.py', 'ols'), ('mine', 'c.py', None),
    ]  # fmt: skip


def test_a_sweep_of_a_config_entry_is_of_the_last_row():
    rows, sweep = requested_rows(
        ['hard.py'],
        variants=[('ols', 'b.py', 'x.y=2')],
        options=['z=1'],
        sweep=['x.interval', '12', '96'],
    )
    assert rows == [
        Request('hard', 'hard.py', None, ('z=1',)),
        Request('interval=12', 'b.py', None, ('z=1', 'x.y=2', 'x.interval=12')),
        Request('interval=96', 'b.py', None, ('z=1', 'x.y=2', 'x.interval=96')),
    ]
    names = {'interval=12': '12', 'interval=96': '96'}
    assert sweep == Sweep('ols', 'x.interval', names)


def test_a_sweep_of_a_methods_option_is_of_the_row_with_that_method():
    rows, sweep = requested_rows(
        ['a.py'], ['ols', 'ls'], options=['z=1'], sweep=['ols:alpha', '0.1', '0.3']
    )
    assert rows == [
        Request('ols_alpha0.1', 'a.py', 'ols:alpha=0.1', ('z=1',)),
        Request('ols_alpha0.3', 'a.py', 'ols:alpha=0.3', ('z=1',)),
        Request('ls', 'a.py', 'ls', ('z=1',)),
    ]
    assert sweep == Sweep('ols', 'ols:alpha', {'ols_alpha0.1': '0.1', 'ols_alpha0.3': '0.3'})
    rows, _ = requested_rows(['a.py'], ['ols:start=zeros'], sweep=['ols:alpha', '0.1'])
    assert rows[0].method == 'ols:start=zeros,alpha=0.1'


@pytest.mark.parametrize(
    ('configs', 'methods', 'message'),
    [
        (['a.py'], ['hard', 'ls'], "the method 'ols', but no row has it"),
        (['a.py', 'b.py'], ['ols'], 'exactly one row .* a_ols, b_ols has it'),
        (['a.py'], ['ols', 'ols:start=zeros'], 'exactly one row'),
        (['a.py'], ['ols:alpha=0.5'], 'leave it out of --methods ols:alpha=0.5'),
        (['a.py'], ['olsen'], "got 'olsen'"),
    ],
)
def test_a_sweep_that_could_mean_several_things_is_refused(configs, methods, message):
    with pytest.raises(ValueError, match=message):
        requested_rows(configs, methods, sweep=['ols:alpha', '0.1'])


def test_a_config_of_any_name_makes_a_row():
    rows, _ = requested_rows(['a/my config (1) 100%.py', 'b/.\u6570\u636e v2.py', 'c/$ .py'])
    assert [row.name for row in rows] == ['my_config_1_100_', '\u6570\u636e_v2', '_']
    assert all(re.fullmatch(r'[\w+-][\w.+=-]*', row.name) for row in rows)
    assert rows[0].config == 'a/my config (1) 100%.py'


def test_the_row_of_a_teacher_is_added_where_it_is_missing():
    rows, _ = requested_rows(['a.py'], ['ols', 'tfkd_self'], options=['z=1'])
    added = with_needed_rows(rows)
    assert added[:2] == rows
    assert added[2:] == [Request('hard', 'a.py', 'hard', ('z=1',))]
    assert with_needed_rows(added) == added
    rows, _ = requested_rows(['a.py', 'b.py'], ['tfkd_self', 'cutout+tfkd_self:alpha=0.5'])
    assert [row.name for row in with_needed_rows(rows)[4:]] == ['hard', 'b_hard']
    rows, _ = requested_rows(['a.py'], ['tfkd_self'], sweep=['x.lr', '1', '2', '3'])
    names = [row.name for row in with_needed_rows(rows)[3:]]
    assert names == ['hard', 'a_hard', 'lr=3_hard']
    # A checkpoint that is named needs no run.
    rows, _ = requested_rows(['a.py'], ['tfkd_self:teacher=t.pth', 'ols'])
    assert with_needed_rows(rows) == rows
