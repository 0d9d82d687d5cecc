"""The command `mmdet-ols`, whose tools are tested by themselves."""

from __future__ import annotations

import io
import sys
from importlib import import_module

import pytest

from mmdet_ols.cli import main as module
from mmdet_ols.cli.options import escape_unprintable


@pytest.mark.parametrize('words', [[], ['--help'], ['plot', '--help']])
def test_help_lists_the_commands(words, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['mmdet-ols', *words])
    module.main()
    commands = module.PLOTS if words[:1] == ['plot'] else module.COMMANDS
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines() if line.startswith('  ')] == [
        *commands
    ]


@pytest.mark.parametrize(
    ('words', 'program', 'rest'),
    [
        (['report', 'work_dirs/a'], 'report', ['work_dirs/a']),
        (['plot', 'a.pth', '--top', '3'], 'plot_soft_labels', ['a.pth', '--top', '3']),
        (['plot', 'features', 'a.py', 'a.pth'], 'plot_features', ['a.py', 'a.pth']),
    ],
)
def test_words_go_to_the_tool(words, program, rest, monkeypatch):
    """Each name leads to a module with a `main`, which gets the words after the name."""
    seen = []
    tool = import_module(f'mmdet_ols.cli.{program}')
    monkeypatch.setattr(tool, 'main', lambda: seen.append(sys.argv[1:]))
    monkeypatch.setattr(sys, 'argv', ['mmdet-ols', *words])
    module.main()
    assert seen == [rest]


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['tran'], r"one of train, test, .* but got 'tran' \(did you mean `train`"),
        (['compair', 'a.py'], r"but got 'compair' \(did you mean `compare`\?\)\.$"),
        (['frobnicate'], r"but got 'frobnicate'\.$"),
        (['plot', 'feature', 'a.py'], r'one of soft-labels, .* \(did you mean `features`\?\)\.$'),
    ],
)
def test_an_unknown_command_is_named_with_what_it_looks_like(words, message, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['mmdet-ols', *words])
    with pytest.raises(SystemExit, match=message):
        module.main()


@pytest.mark.parametrize(
    'name',
    ['compare', 'evidence', 'plot_features', 'plot_soft_labels', 'report', 'reproduce', 'test',
     'train'],
)  # fmt: skip
def test_every_tool_prints_on_any_terminal(name, monkeypatch):
    tool = import_module(f'mmdet_ols.cli.{name}')
    monkeypatch.setattr(sys, 'stdout', io.TextIOWrapper(io.BytesIO(), encoding='ascii'))
    monkeypatch.setattr(sys, 'argv', [name, '--no-such-option'])
    with pytest.raises(SystemExit):
        tool.main()
    assert sys.stdout.errors == 'backslashreplace'


def test_a_terminal_without_the_characters_gets_escapes(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, 'stdout', io.TextIOWrapper(written, encoding='ascii'))
    escape_unprintable()
    print('M\u00f6we', flush=True)
    assert written.getvalue() == b'M\\xf6we\n'
