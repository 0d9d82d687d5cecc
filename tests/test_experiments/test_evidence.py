"""The file that keeps finished runs: what was written is read, by one process or several."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest
from toy_rows import ROW

from mmdet_ols.experiments.evidence import COLUMNS, EvidenceFile, read_rows, to_csv

LATER = replace(
    ROW, seed=1, best_by='', best_epoch=None, best={}, metrics={'accuracy/top1': 75.0, 'new': 1e-5}
)


def test_rows_come_back_as_they_were(tmp_path):
    path = tmp_path / 'folder' / 'rows.csv'
    file = EvidenceFile(path)
    assert file.rows() == [] and not path.exists()
    assert file.add(ROW) and file.add(LATER)
    assert file.rows() == [ROW, LATER] == EvidenceFile(path).rows() == read_rows(path)
    lines = path.read_text().splitlines()
    assert lines[0].split(',') == [
        *COLUMNS, 'accuracy/top1', 'train/top1_error', 'new', 'best accuracy/top1'
    ]  # fmt: skip
    assert len(lines) == 3 and list(path.parent.iterdir()) == [path]
    other = replace(ROW, seed=2, best_by='own', best={'own': 3.0})
    assert file.add(other) and read_rows(path)[2] == other


def test_a_run_has_one_row(tmp_path):
    file = EvidenceFile(tmp_path / 'rows.csv')
    file.add(ROW)
    before = file.path.read_bytes()
    assert not file.add(replace(ROW, date='2027-01-01', metrics={'accuracy/top1': 1.0}))
    assert file.path.read_bytes() == before
    assert file.add(replace(ROW, test='tta')) and file.add(replace(ROW, settings='0'))
    assert file.row(ROW.identity) == ROW and file.row(('0', 5, 'plain')) is None


def test_a_row_of_another_process_is_seen(tmp_path):
    mine, others = (EvidenceFile(tmp_path / 'rows.csv') for _ in range(2))
    mine.add(ROW)
    assert others.add(LATER)
    assert mine.rows() == [ROW, LATER]


def add_twenty(path, first):
    file = EvidenceFile(path)
    for seed in range(first, first + 20):
        file.add(replace(ROW, seed=seed, metrics={f'metric{seed}': 1.0}))


def test_a_file_that_is_only_read_leaves_no_folder_behind(tmp_path):
    folder = tmp_path / 'of another user'
    assert EvidenceFile(folder / 'rows.csv', read_only=True).rows() == []
    assert not folder.exists()


def test_processes_that_add_at_once_lose_nothing(tmp_path):
    path = tmp_path / 'rows.csv'
    context = multiprocessing.get_context('fork')  # a new interpreter would import for seconds
    processes = [context.Process(target=add_twenty, args=(path, first)) for first in (0, 10, 30)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert sorted(row.seed for row in read_rows(path)) == list(range(50))


def test_a_row_as_a_run():
    run = ROW.as_run(Path('there'))
    assert run.final == ROW.metrics and run.recorded and run.trained is False
    assert (run.length, run.done, run.seconds) == (20, 20, 61)
    assert run.best('accuracy/top1') == (15, 77.5)
    assert run.best('train/top1_error', True) is None  # it was not chosen by that
    assert LATER.as_run().best('accuracy/top1') is None


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('a,b\n1,2\n', 'must have the columns .* settings, base'),
        (','.join(COLUMNS) + '\n' + 'x,' * 7 + 'one\n', 'row 2: .* Mend the row'),
        (','.join(COLUMNS) + '\n<<<<<<< HEAD\n', 'row 2'),
        (to_csv([ROW]).rstrip() + ',99\n', 'row 2: it has 20 cells, but the file 19 columns'),
        (to_csv([LATER, ROW]).replace(',,\n', '\n'), 'row 2: it has'),
        (to_csv([ROW, LATER, replace(ROW, machine='b')]), 'row 4: .* those of another row'),
        (to_csv([ROW]).replace(',61,', ',,'), 'row 2: it needs .* seconds'),
        (to_csv([ROW]).replace('20 epochs', '20epochs'), 'row 2: it needs .* a length such as'),
    ],
)
def test_another_file_is_refused(tmp_path, text, message):
    path = tmp_path / 'rows.csv'
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        EvidenceFile(path)
    assert path.read_text() == text


def test_a_file_that_a_spreadsheet_has_saved_is_read(tmp_path):
    path = tmp_path / 'rows.csv'
    text = to_csv([ROW, LATER]) + ',' * to_csv([ROW, LATER]).splitlines()[0].count(',')
    path.write_bytes(b'\xef\xbb\xbf' + text.replace('\n', '\r\n').encode())
    assert read_rows(path) == [ROW, LATER]
    path.write_text(to_csv([ROW, LATER]).replace(f',{ROW.best_epoch},', f',{ROW.best_epoch}.0,'))
    assert read_rows(path) == [ROW, LATER]


def test_a_file_that_is_broken_while_runs_go_on_ends_none_of_them(tmp_path):
    """It counts as it was, and only what is to be added now says what is wrong."""
    file = EvidenceFile(tmp_path / 'rows.csv')
    file.add(ROW)
    assert file.rows() == [ROW]
    file.path.write_text(file.path.read_text().replace(',', ';'))  # saved by a spreadsheet
    assert file.rows() == [ROW]
    with pytest.raises(ValueError, match='must have the columns'):
        file.add(LATER)
    with pytest.raises(ValueError, match='must have the columns'):
        EvidenceFile(file.path)


@pytest.mark.parametrize('name', ['seconds', 'best top1'])
def test_a_metric_with_the_name_of_a_column_does_not_break_the_file(tmp_path, name):
    file = EvidenceFile(tmp_path / 'rows.csv')
    file.add(ROW)
    with pytest.raises(ValueError, match=f"name of a column .* but got '{name}': give .* `prefix`"):
        file.add(replace(LATER, metrics={name: 1.5}))
    assert read_rows(file.path) == [ROW]


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match='name a CSV file in it'):
        EvidenceFile(tmp_path)
