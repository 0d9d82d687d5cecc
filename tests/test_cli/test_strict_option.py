"""`--strict` reaches every tool that checks data before it runs."""

from __future__ import annotations

import sys

import pytest

from mmdet_ols.cli import compare, test, train


@pytest.mark.parametrize(
    ('tool', 'words'),
    [(train, ['config.py']), (test, ['config.py', 'x.pth']), (compare, ['config.py'])],
)
@pytest.mark.parametrize('option', ['--strict', '--strict-classes', None])
def test_tools_take_it_under_both_names(tool, words, option, monkeypatch):
    given = [option] if option else []
    monkeypatch.setattr(sys, 'argv', ['tool', *words, *given])
    assert tool.parse_args().strict is bool(option)
