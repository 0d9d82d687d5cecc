"""`mmdet-ols evidence` as a user types it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mmdet_ols.cli import evidence as tool
from mmdet_ols.experiments.evidence import EvidenceFile, EvidenceRow, read_rows


@pytest.fixture
def rows(tmp_path):
    file = EvidenceFile(tmp_path / 'rows.csv')
    facts = ('plain', 0, '2 epochs', 60, 'abc', 'cpu', '2.11', '2026-01-01')
    metrics = {'coco/bbox_mAP': 0.25}
    file.add(EvidenceRow('k', 'b', 'hard', 'hard', 'a.py', '', *facts, metrics=metrics))
    return file.path


def test_tables_are_printed(command, rows):
    assert '| bbox_mAP (%), higher is better | hard | 25.00 |' in command(tool.main, rows)
    assert 'one of the rows hard' in command(tool.main, rows, '--reference', 'ols', ok=False)


def test_metrics_may_be_named_one_by_one(command, rows):
    keys = 'coco/bbox_mAP', 'mean'
    EvidenceFile(rows).add(replace(read_rows(rows)[0], seed=1, metrics=dict.fromkeys(keys, 0.5)))
    output = command(tool.main, rows, '--metrics', keys[0], '--metrics', keys[1])
    assert '| bbox_mAP (%), ' in output and '| mean, direction unknown | ' in output


def test_a_page_is_checked_and_filled(command, rows, tmp_path):
    page = tmp_path / 'page.md'
    page.write_text('<!-- evidence: rows.csv -->\n<!-- end of evidence -->\n')
    assert 'differs from its rows' in command(tool.main, '--page', page, '--check', ok=False)
    assert 'Written' in command(tool.main, '--page', page)
    assert '| hard | 25.00 |' in page.read_text()
    assert 'agrees with its rows' in command(tool.main, '--page', page, '--check')


@pytest.mark.parametrize('words', [['--metrics', 'a'], ['--classes'], ['--reference', 'hard']])
def test_what_a_page_shows_is_said_in_its_comments(command, words):
    output = command(tool.main, '--page', 'page.md', *words, ok=False)
    assert 'the comments of --page PAGE.md say what its tables show' in output


@pytest.mark.parametrize(
    'words', [[], ['--metrics', 'a', 'a.csv'], ['a.csv', '--page', 'b.md'], ['a.csv', '--check']]
)
def test_a_file_or_a_page_is_named(command, words):
    output = command(tool.main, *words, ok=False)
    assert 'in front of the options' in output or '--check needs --page' in output
