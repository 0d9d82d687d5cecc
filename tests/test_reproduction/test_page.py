"""The page of the paper's tables: laid out as in the paper, complete, and true to the runs."""

from __future__ import annotations

import csv
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from toy_results import made_result, result, the_cell
from toy_work_dir import assert_self_contained

from mmdet_ols.experiments.states import State
from mmdet_ols.paper import Figure, all_figures, cells
from mmdet_ols.reproduction.claims import Numbers, judge
from mmdet_ols.reproduction.layout import LAYOUTS, lay_out
from mmdet_ols.reproduction.page import write_page
from mmdet_ols.reproduction.scales import figures_of
from mmdet_ols.reproduction.texts import verdict_text
from mmdet_ols.results.run_folder import Run
from mmdet_ols.results.statistics import summarise

HARD, LS, OLS = [20.5, 20.9, 20.6], [21.2, 20.7, 21.4], [20.0, 20.3, 19.9]


class Tables(HTMLParser):
    """The rows of every table of a page, as texts of their cells."""

    def __init__(self, page):
        super().__init__()
        self.tables, self._cell = [], None
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        if tag == 'table':
            self.tables.append([])
        elif tag == 'tr':
            self.tables[-1].append([])
        elif tag in ('td', 'th'):
            self._cell = []

    def handle_endtag(self, tag):
        if tag in ('td', 'th') and self._cell is not None:
            self.tables[-1][-1].append(' '.join(' '.join(self._cell).split()))
            self._cell = None

    def handle_data(self, data):
        if self._cell is not None:
            self._cell.append(data)


@pytest.fixture
def results():
    """ResNet-34 of Table II: four methods are there, one failed, one is under way."""

    def unfinished(method, run, states):
        return result('II', 'resnet34_', method, [])._replace(runs={0: run}, states=states)

    folder = Path('runs')
    return [
        result('II', 'resnet34_', 'hard', HARD, notes=('Trained for <half> the epochs.',)),
        result('II', 'resnet34_', 'ls', LS),
        result('II', 'resnet34_', 'ols', OLS),
        result(
            'II',
            'resnet34_',
            'bootsoft',
            [21.5, 21.4],
            states={0: State('finished'), 2: State('waiting')},
        ),
        unfinished('sce', Run(folder, 300), {0: State('failed', 'no <memory> left')}),
        unfinished('byot', Run(folder, 300, 7), {0: State('running'), 1: State('waiting')}),
    ]


@pytest.fixture
def written(results, tmp_path):
    html, markdown, table = write_page(results, tmp_path, how={'machine': 'two & a half cores'})
    rows = list(csv.DictReader(table.read_text().splitlines()))
    return html.read_text(), markdown.read_text(), rows


def row_of(rows, method, network='resnet34', table='II', metric='top1_error', source=''):
    (row,) = [
        row
        for row in rows
        if (row['table'], row['network'], row['method']) == (table, network, method)
        and (row['metric'], row['paper_source']) == (metric, source)
    ]
    return row


def test_the_table_of_numbers_is_what_the_runs_reached(written):
    _, _, rows = written
    assert len(rows) == len(all_figures())
    ols = row_of(rows, 'ols')
    difference = np.subtract(OLS, HARD)
    half = stats.t.ppf(0.975, 2) * difference.std(ddof=1) / np.sqrt(3)
    expected = dict(
        n=3, mean=np.mean(OLS), sd=np.std(OLS, ddof=1), paper=20.04, paper_sd=0.11,
        difference=difference.mean(), low=difference.mean() - half, high=difference.mean() + half,
        paper_difference=-0.58,
    )  # fmt: skip
    assert {name: float(ols[name]) for name in expected} == pytest.approx(expected, rel=1e-5)
    assert ols['verdict'] == 'holds'
    assert ols['config'] == 'cifar100/resnet34_cifar100.py' and ols['seeds'] == '0 1 2'
    # The best method without OLS in the paper's column is BYOT, which is not there yet.
    assert (ols['also_against'], ols['also_verdict']) == ('BYOT', 'missing')
    ls = row_of(rows, 'ls')
    assert ls['verdict'] == 'cannot be told'
    assert float(ls['smallest_told']) == pytest.approx(
        stats.t.ppf(0.975, 2) * np.std(np.subtract(LS, HARD), ddof=1) / np.sqrt(3), rel=1e-5
    )
    assert row_of(rows, 'sce')['state'] == 'failed' and row_of(rows, 'sce')['n'] == '0'
    assert row_of(rows, 'byot')['state'] == 'running'
    assert row_of(rows, 'ddgsd')['state'] == 'missing'
    quoted = row_of(rows, 'tfkd_reg', 'resnet50', 'IV', source='Tf-KD')
    assert (quoted['state'], quoted['paper'], quoted['verdict']) == ('quoted', '23.58', '')


def test_the_page_shows_ours_next_to_the_papers(written):
    html, _, _ = written
    reader = assert_self_contained(html)
    text = '\n'.join(reader.text)
    assert '<half>' not in html and 'Trained for <half> the epochs.' in text
    assert (
        'no <memory> left' in text and 'two & a half cores' in text and 'a <fast> machine' in text
    )
    (table,) = [t for t in Tables(html).tables if t[0][1:2] == ['ResNet-34']]
    cells_of = {row[0]: row[1] for row in table[1:]}
    ols = re.fullmatch(
        r'20\.07 ± 0\.21 (\d) n 3 paper 20\.04 ± 0\.11 −0\.60 \[.*\] ✓ holds', cells_of['OLS']
    )
    notes = re.findall(r'<li>(.*?)</li>', html.partition('<ol class="footnotes">')[2])
    assert ols and notes[int(ols[1]) - 1].startswith('The paper&#39;s text starts OLS from uniform')
    assert 'cannot be told below' in cells_of['LS'] and 'n 3' in cells_of['LS']
    hard = re.fullmatch(r'20\.67 ± 0\.21 (\d) n 3 paper 20\.62 ± 0\.21', cells_of['Hard labels'])
    assert hard and notes[int(hard[1]) - 1] == 'Trained for &lt;half&gt; the epochs.'
    assert ' n 2 of 3 ' in cells_of['Bootsoft']
    assert cells_of['SCE'].startswith('failed') and cells_of['BYOT'].startswith('running')
    assert cells_of['Xu et al.'] == 'missing paper 22.65 ± 0.09'
    assert 'mmdet-ols reproduce run --table II --scale paper' in text
    assert 'mmdet-ols reproduce run --table VII --scale paper' in text
    assert (
        'python tools/compare.py configs/cifar100/resnet34_cifar100.py '
        '--methods hard ls ols bootsoft --seeds 0 1 2'
    ) in text


def test_the_summary_counts_every_claim_once(written):
    html, markdown, rows = written
    summary = Tables(html).tables[0]
    by_table = {row[0].split()[1]: row[1:] for row in summary[2:-1]}
    assert by_table['II'][:5] == ['4 of 55', '1', '2', '0', '47']
    assert list(by_table) == [*LAYOUTS]
    for name, counts in by_table.items():
        claims = [row for row in rows if row['table'] == name and row['verdict']]
        assert sum(map(int, filter(None, counts[1:5]))) == len(claims)
    assert summary[-1][1] == '4 of 355'
    line = 'Against hard labels: of 50 claims of the paper, 1 holds, 2 cannot be told, 47 have no'
    assert line in html and line in markdown


def test_markdown_has_the_same_table(written):
    _, markdown, _ = written
    assert '\n## Section V-E: Soft labels of one sample' in markdown
    section = markdown.partition('## Table II:')[2].partition('\n## ')[0]
    rows = [line.strip('|').split('|') for line in section.splitlines() if line.startswith('|')]
    assert [cell.strip() for cell in rows[0]] == [
        '', 'ResNet-34', 'ResNet-50', 'ResNet-101', 'ResNeXt29-2x64d', 'ResNeXt29-32x4d'
    ]  # fmt: skip
    (ols,) = [row for row in rows if row[0].strip() == 'OLS']
    assert ols[1].startswith(' **20.07 ± 0.21** (n 3)') and '<br>paper 20.04 ± 0.11' in ols[1]
    assert ' holds' in ols[1] and 'missing' in ols[2]


def paper_rows(name):
    """Headers and the paper's numbers of each row of a table, as the page lays it out."""
    table = lay_out(name, Numbers([]).table(name))
    return table, {row.names: [n and n.figure.value for n in row.numbers] for row in table.rows}


def test_tables_are_laid_out_as_in_the_paper():
    table, rows = paper_rows('VII')
    assert table.columns == [('0 %',), ('20 %',), ('40 %',), ('60 %',), ('80 %',)]
    assert rows['OLS',] == [25.24, 32.67, 38.86, 50.04, 78.22]
    assert rows['PENCIL',] == [29.36, 36.33, 43.55, 57.49, 79.24]
    table, rows = paper_rows('VI')
    assert rows['MobileNetV2', 'Flowers-102'] == [8.97, 2.51, 8.06, 2.46, 8.05, 2.23, 7.27, 1.77]
    assert rows['SAN-15', 'Aircraft'] == [11.31, 3.79, 9.96, 3.45, 10.77, 4.18, 9.43, 2.95]
    assert table.heads[0] == [('Hard labels', 2), ('LS', 2), ('Tf-KD', 2), ('OLS', 2)]
    assert [row.headers[0] for row in table.rows if len(row.headers) == 2] == [
        ('ResNet-50', 4), ('MobileNetV2', 4), ('EfficientNet-b7', 4), ('SAN-15', 4)
    ]  # fmt: skip
    table, rows = paper_rows('IV')
    assert rows['ResNet-50', 'Tf-KD (self) (quoted from Tf-KD)'] == [23.59, None]
    assert rows['ResNet-101', 'CutOut + LS'] == [20.47, 5.51]
    table, rows = paper_rows('XI')
    assert table.heads[0] == [('ResNet-56', 2), ('ResNet-74', 2), ('ResNet-110', 2)]
    assert rows['LS',] == [26.37, 3.35, 25.90, 2.37, 25.14, 2.32]
    assert paper_rows('IX')[1]['OLS',] == [75.79, 48.13, 74.43, 22.14]
    assert paper_rows('III')[1]['Hard labels',] == [26.41, 26.07, 25.93, 25.87, 25.88]
    assert paper_rows('X')[1] == {('mAP (%)',): [81.6, 82.3, 82.7, 82.7]}
    shown = [n for name in LAYOUTS for n in paper_rows(name)[0].numbers]
    assert len(shown) == len(all_figures())


def test_table_6_ends_with_the_average_improvement(tmp_path):
    """The paper: 1.11, 0.44 and 2.00 for the top-1 errors, and 0.96 for OLS's top-5 errors."""
    errors = dict(hard=[12.0, 12.4], ls=[11.0, 11.6], ols=[10.0, 10.6])
    made = [result('VI', 'mobilenetv2_cars', method, of) for method, of in errors.items()]
    html = write_page(made, tmp_path)[0].read_text()
    (table,) = [t for t in Tables(html).tables if t[0][1:] == ['Hard labels', 'LS', 'Tf-KD', 'OLS']]
    ls1, ls5, tfkd1, _, ols1, ols5 = table[-1][3:]
    own, paper = zip(*(text.rsplit(' paper ', 1) for text in (ls1, tfkd1, ols1, ols5)))
    assert own == ('+0.90 1 of 16, where the paper has +1.54', 'missing',
                   '+1.90 1 of 16, where the paper has +2.46', 'missing')  # fmt: skip
    assert [float(text) for text in paper] == pytest.approx([1.11, 0.44, 2.00, 0.96], abs=0.02)
    assert ls5.startswith('missing')
    # A table of which nothing is there keeps its numbers in a fold.
    assert 'Missing: none of its 55 numbers is planned here.' in html


def test_notes_say_what_the_paper_leaves_open_and_what_was_chosen(tmp_path):
    plain, chosen = (the_cell('VI', 'mobilenetv2_flowers', name) for name in ('hard', 'ols'))
    made = [
        made_result(plain, {0: 90.0}),
        made_result(chosen, {0: 91.0}, config='fine_grained/mobilenetv2_flowers_1020.py'),
        made_result(the_cell('VI', 'mobilenetv2_aircraft', 'hard'), {0: 80.0}, config='other.py'),
        made_result(
            the_cell('VI', 'mobilenetv2_aircraft', 'tfkd_reg'),
            {0: 80.0},
            config='other.py',
            method='tfkd_reg:form=fair,alpha=0.1',
        ),
    ]
    notes = {
        (row['network'], row['data'], row['method']): row['notes']
        for row in csv.DictReader(write_page(made, tmp_path)[2].read_text().splitlines())
        if row['metric'] == 'top1_error'
    }
    question = 'Table V gives Flowers-102 2,040 training images; '
    assert notes['mobilenetv2', 'flowers', 'hard'].startswith(question)
    assert notes['mobilenetv2', 'flowers', 'hard'].endswith('These runs train on 2,040.')
    assert notes['mobilenetv2', 'flowers', 'ols'].endswith('These runs train on 1,020.')
    # What was trained there is not the paper's: only what is open about methods is left.
    assert notes['mobilenetv2', 'aircraft', 'hard'] == ''
    assert notes['mobilenetv2', 'aircraft', 'tfkd_reg'].endswith('smooth nearly all of the label.')
    assert 'Table V' not in notes['mobilenetv2', 'aircraft', 'tfkd_reg']


def test_a_note_of_the_paper_is_not_said_twice(tmp_path):
    made = [made_result(the_cell('VIII', 'resnet29', 'ls'), {0: 50.0}, 'pgd/top1_error')]
    rows = csv.DictReader(write_page(made, tmp_path)[2].read_text().splitlines())
    rows = [r for r in rows if (r['table'], r['metric']) == ('VIII', 'pgd/top1_error')]
    notes = {row['method']: row['notes'] for row in rows}
    assert 'how large its PGD attack was' in notes['ls'] and 'not stated' not in notes['ls']
    assert notes['ols'] == (
        "The paper's number: the size of the attack is not stated; it is not 8/255."
    )


def test_smoke_runs_say_that_they_say_nothing(results, tmp_path):
    html, markdown, table = write_page(results, tmp_path, 'smoke')
    text = html.read_text()
    assert 'their numbers say nothing of the methods' in text
    assert f'--table II --scale smoke --work-dir {tmp_path}<' in text
    assert 'tools/compare.py' not in text
    assert '20.07 ± 0.21' in text  # but no difference, and no verdict on one
    for shown in (text.partition('</style>')[2], markdown.read_text()):
        assert not re.search(r'holds\b|cannot be told|fails\b|−0\.60', shown)
    row = row_of(csv.DictReader(table.read_text().splitlines()), 'ols')
    assert (row['n'], row['verdict'], row['difference']) == ('3', '', '')


def test_a_difference_that_is_no_number_is_not_taken_for_one_pair():
    single, diverged = summarise([1.0]), summarise([1.0, 2.0, float('nan')])
    assert verdict_text(judge(1, single), single, 2) == 'cannot be told: one pair of runs'
    assert verdict_text(judge(1, diverged), diverged, 2) == 'cannot be told'


def test_every_cell_has_a_place(tmp_path):
    """All cells at once, the figures' too: nothing of the plan is lost."""
    made = [made_result(cell, {0: 50.0}) for cell in cells()]
    assert all(isinstance(f, Figure) for r in made for f in r.figures)
    html, _, table = write_page(made, tmp_path)
    assert html.read_text().count('<svg') > 1
    assert_self_contained(html.read_text())
    rows = list(csv.DictReader(table.read_text().splitlines()))
    top1 = [row for row in rows if row['metric'] == 'top1_error' and not row['paper_source']]
    assert {row['n'] for row in top1} == {'1'}
    assert len(top1) == sum(f.metric == 'top1_error' for c in cells() for f in figures_of(c))


def test_at_the_small_scale_only_what_is_planned_is_shown(results, tmp_path):
    attacked = result('VIII', 'resnet29_', 'hard', [7.0])
    html, markdown, table = write_page([*results, attacked], tmp_path, scale='small')
    page = html.read_text()
    (second,) = [t for t in Tables(page).tables if t[0][1:2] == ['ResNet-34']]
    assert [row[0] for row in second] == [
        '', 'Hard labels', 'Bootsoft', 'SCE', 'LS', 'OLS', 'BYOT',
    ]  # fmt: skip
    assert {len(row) for row in second} == {2}  # the other networks have no run
    headings = ['Table II: Top-1', 'Table VIII: Adversarial']
    assert re.findall(r'^## (Table \w+: [\w-]+)', markdown.read_text(), re.M) == headings
    assert re.findall(r'Fig\. \d', page) == []
    assert 'missing' not in {row['state'] for row in csv.DictReader(table.read_text().splitlines())}
    assert '--table VIII --scale small' in page
    assert 'are left out' in page and 'are left out' in markdown.read_text()
