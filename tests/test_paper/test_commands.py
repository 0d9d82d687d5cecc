"""The page about the paper's tables names configs that exist, and the methods of every table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mmdet_ols.engine.old_variables import OLD_VARIABLES
from mmdet_ols.paper import cells

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / 'docs/paper_tables.md').read_text(encoding='utf-8')


def listed():
    """Table, config and methods of each row of the page's list of commands."""
    section = PAGE.partition('## One command for each table')[2].partition('\n## ')[0]
    tables = ''
    for line in section.splitlines():
        if line.startswith('| ') and '.py`' in line:
            first, config, methods = (column.strip() for column in line.strip('|').split('|'))
            tables = first or tables
            for table in tables.split(', '):
                yield table, re.search(r'`([\w/]+\.py)`', config)[1], methods.strip('`').split(' ')


def test_every_table_has_a_command_for_its_methods():
    rows = [row for row in listed() if not row[0].startswith('Fig')]
    assert {table for table, *_ in rows} == {
        cell.table for cell in cells() if not cell.table.startswith('Fig')
    }
    for table, config, methods in rows:
        here = [cell for cell in cells(table) if cell.config == config]
        known = {cell.method for cell in here}
        options = {option for cell in here for option in cell.options}
        if table == 'X':  # the page leaves out the second reading of sigmoid scores
            known.remove('ols')
        assert set(methods) == known | options


@pytest.mark.parametrize('text', [PAGE, '\n'.join(OLD_VARIABLES.values())], ids=['page', 'hints'])
def test_configs_that_are_named_exist(text):
    named = re.findall(r'configs/[\w/]+\.py', text)
    short = re.findall(r'`((?:cifar|imagenet|fine_grained)[\w/]+\.py)`', text)
    named += [f'configs/{path}' for path in short]
    assert named
    for path in named:
        assert (ROOT / path).is_file(), path


def test_no_config_reads_the_environment():
    for path in (ROOT / 'configs').rglob('*.py'):
        text = path.read_text(encoding='utf-8')
        assert '{{$' not in text and 'environ' not in text, path
