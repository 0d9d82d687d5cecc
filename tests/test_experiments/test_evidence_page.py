"""Pages made from rows: the statistics of the comparison, and the commands behind them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from scipy.stats import ttest_rel
from toy_rows import ROW

from mmdet_ols.cli.evidence import filled_page
from mmdet_ols.experiments.evidence import EvidenceFile
from mmdet_ols.experiments.evidence_page import MARKED, Selection, evidence_tables

DOCS = Path(__file__).parents[2] / 'docs'
TOP1 = {'hard': (70.0, 71.0, 69.0), 'ols': (73.0, 72.5, 73.5)}


def row(name, seed, top1, **changes):
    return replace(
        ROW, settings=f'key of {name}', name=name, method=name, seed=seed, options='',
        metrics={'accuracy/top1': top1, 'accuracy/top5': top1 + 20, 'calibration/ece': 3.0},
        best={'accuracy/top1': top1 + 1}, **changes,
    )  # fmt: skip


ROWS = [row(name, seed, top1) for name, values in TOP1.items() for seed, top1 in enumerate(values)]


def cells(text, start):
    (line,) = [line for line in text.splitlines() if line.startswith(start)]
    return [cell.strip() for cell in line.strip('|').split('|')]


def test_tables_have_the_statistics_of_the_paired_differences():
    text = evidence_tables(ROWS[::-1], Selection(reference='hard'))
    ols = cells(text, '| top-1 error (%), lower is better | ols |')
    # 27, 27.5, 26.5 against 30, 29, 31: the differences are -3, -1.5 and -4.5.
    assert ols[2:6] == ['27.00', '0.50', '3', '-3.00']
    low, high = ttest_rel(TOP1['hard'], TOP1['ols']).confidence_interval(0.95)
    assert ols[6] == f'{low:+.2f} to {high:+.2f}'
    assert ols[8] == '26.00 ± 0.50'  # at the best epoch
    assert '| hard | 30.00 | 1.00 | 3 |' in text
    assert cells(text, '| commit')[1] == '3faf0b2-dirty'
    assert cells(text, '| machine')[1] == 'AMD EPYC, 1 of 2 cores'
    assert 'python tools/compare.py configs/a.py --methods hard ols --seeds 0 1 2\n' in text


def test_the_commands_make_every_run():
    plain = [replace(r, name='a', method='', settings='plain') for r in ROWS[:3]]
    text = evidence_tables([*plain, *ROWS[3:]], Selection())
    for words in ('', '--methods ols '):
        assert f'python tools/compare.py configs/a.py {words}--seeds 0 1 2\n' in text


def test_rows_that_differ_in_more_than_their_method_get_tables_of_their_own():
    fast = [
        replace(r, settings=f'{r.settings} fast', base='fast', options='a.lr=1', commit='abc')
        for r in ROWS
    ]
    text = evidence_tables([*ROWS, *fast], Selection('hard'))
    assert text.count('| metric |') == 2
    assert '--methods hard ols --seeds 0 1 2 --cfg-options a.lr=1\n' in text
    together = evidence_tables([*ROWS, *fast], Selection(together=True))
    assert together.count('| metric |') == 1
    assert '| ols (a.lr=1) | 27.00 |' in together
    assert 'abc (' in together  # which runs another commit made


def test_rows_that_differ_in_more_than_their_method_are_named_by_it_in_one_table():
    """Each method at its own learning rate: the reader must see it."""
    own = {'hard': '0.003', 'ols': '0.01'}
    rows = [
        replace(r, base=f'base {r.name}', options=f'a=1 optim_wrapper.optimizer.lr={own[r.name]}')
        for r in ROWS
    ]
    text = evidence_tables(rows, Selection(reference='hard', together=True))
    assert '| ols (optim_wrapper.optimizer.lr=0.01) | 27.00 |' in text
    assert '| difference to hard (optim_wrapper.optimizer.lr=0.003) |' in text
    # The one without options of its own keeps its name; configs differ as options do.
    rows = [replace(r, options='') if r.name == 'hard' else r for r in rows]
    assert '| difference to hard |' in evidence_tables(rows, Selection(together=True))
    rows = [replace(r, options='', config=f'{r.name}_net.py') for r in rows]
    assert '| ols (ols_net) |' in evidence_tables(rows, Selection(together=True))


def test_metrics_can_be_chosen():
    text = evidence_tables(ROWS, Selection(metrics=['calibration/ece', 'accuracy/top1']))
    assert 'top-5' not in text and 'top-1 error' in text


def test_a_metric_that_was_asked_for_is_shown_though_no_table_has_it_by_itself():
    rows = [
        replace(one, metrics={**one.metrics, 'mistakes/precision_at_100': 0.9})
        if one.name == 'ols' else one
        for one in ROWS
    ]  # fmt: skip
    text = evidence_tables(rows, Selection(metrics=['accuracy/top1', 'mistakes/precision_at_100']))
    shown = [line.split(' | ')[:2] for line in text.splitlines() if ' is better' in line]
    assert [(metric.partition(',')[0], name) for metric, name in shown] == [
        ('| top-1 error (%)', 'hard'), ('| top-1 error (%)', 'ols'),
        ('| precision at 100 (%)', 'ols'),  # of the others it was not measured
    ]  # fmt: skip
    message = '--metrics must be of accuracy/top1, accuracy/top5, calibration/ece, but got top1, '
    with pytest.raises(ValueError, match=message):
        evidence_tables(ROWS, Selection(metrics=['accuracy/top1', 'top1']))


def test_rows_without_a_metric_that_was_asked_for_have_no_table():
    other = replace(row('ols', 0, 1.0), settings='b', base='b', metrics={'coco/bbox_mAP': 0.5})
    text = evidence_tables([*ROWS, other], Selection(metrics=['accuracy/top1']))
    assert text == evidence_tables(ROWS, Selection(metrics=['accuracy/top1']))


def test_what_cannot_be_shown():
    with pytest.raises(ValueError, match='no rows yet'):
        evidence_tables([], Selection())
    with pytest.raises(ValueError, match='one of the rows hard, ols, but got .ce.'):
        evidence_tables(ROWS, Selection('ce'))


def test_a_page_is_filled_between_its_marks(tmp_path):
    file = EvidenceFile(tmp_path / 'rows' / 'a.csv')
    for r in ROWS[:2]:
        file.add(r)
    page = tmp_path / 'page.md'
    page.write_text('# A\n\n<!-- evidence: rows/a.csv -->\nold\n<!-- end of evidence -->\n\nend\n')
    filled = filled_page(page)
    assert filled.startswith('# A\n\n<!-- evidence: rows/a.csv -->\n\n| metric |')
    assert filled.endswith('\n<!-- end of evidence -->\n\nend\n') and 'old' not in filled
    page.write_text(filled)
    assert filled_page(page) == filled
    file.add(ROWS[2])
    assert filled_page(page) != filled
    page.write_text('<!-- evidence: rows/a.csv --tables -->\n<!-- end of evidence -->\n')
    with pytest.raises(ValueError, match='page.md.*--tables'):
        filled_page(page)


def test_a_run_that_stands_in_several_files_counts_once(tmp_path):
    assert evidence_tables([*ROWS, *ROWS], Selection()) == evidence_tables(ROWS, Selection())
    again = replace(ROWS[1], date='2027-01-01', metrics={'accuracy/top1': 50.0})
    with pytest.raises(ValueError, match='hard seed 1 has other results in another file .*2027'):
        evidence_tables([*ROWS, again], Selection())


MARKS = '<!-- evidence: a.csv -->\n', '<!-- end of evidence -->\n'


@pytest.mark.parametrize(
    ('text', 'wrong'),
    [
        ('# No table\n', 'it has none'),
        (f'{MARKS[0]}\nto be kept\n\n{"".join(MARKS)}', "got '<!-- evidence: a.csv -->'"),
        (f'{"".join(MARKS)}\nto be kept\n\n{MARKS[1]}', "got '<!-- end of evidence -->'"),
        (f'{"".join(MARKS)}<!-- evidence: a.csv --> \n{MARKS[1]}', 'evidence: a.csv --> '),
        (f'<!--evidence: a.csv -->\n{MARKS[1]}', 'evidence: a.csv -->'),
    ],
)
def test_a_mark_without_its_end_is_refused(tmp_path, text, wrong):
    EvidenceFile(tmp_path / 'a.csv').add(ROWS[0])
    page = tmp_path / 'page.md'
    page.write_text(text)
    with pytest.raises(ValueError, match=f'page.md must hold each table between .*{wrong}'):
        filled_page(page)


@pytest.mark.parametrize('page', sorted(DOCS.rglob('*.md')), ids=lambda page: page.name)
def test_the_pages_agree_with_their_rows(page):
    text = page.read_text(encoding='utf-8')
    if MARKED.search(text):
        assert filled_page(page) == text, f'run: mmdet-ols evidence --page {page}'
    else:
        assert '<!-- evidence' not in text


@pytest.mark.parametrize('path', sorted(DOCS.glob('evidence/*.csv')), ids=lambda path: path.name)
def test_files_of_rows_are_whole(path):
    rows = EvidenceFile(path).rows()
    assert rows and len({row.identity for row in rows}) == len(rows)
