"""The pages: what they link to and name exists, what they show runs, and nothing is left out."""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.util
import inspect
import itertools
import re
import shlex
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import mmdet_ols
from mmdet_ols import losses
from mmdet_ols.cli.main import main
from mmdet_ols.engine import hooks

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *sorted(ROOT.glob('docs/**/*.md'))]
TEXTS = {str(path.relative_to(ROOT)): path.read_text(encoding='utf-8') for path in PAGES}
FENCE = re.compile(r'^( *)```(\w*)\n(.*?)^\1```$', re.MULTILINE | re.DOTALL)
#: A path of this repository in a page; `{a,b}` and `*` stand for several.
PATHS = re.compile(
    r'(?<![\w./-])(?:configs|tools|benchmarks|examples|mmdet_ols|tests|requirements|docs)/[\w./{},*-]*'
)

pages = pytest.mark.parametrize('page', TEXTS)


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page, without the indentation of the list that they may be in."""
    return [
        inspect.cleandoc(f'\n{code}') for _, name, code in FENCE.findall(TEXTS[page])
        if name == language
    ]  # fmt: skip


def anchors(path: Path) -> set[str]:
    """The headings of a page, as code hosts and MkDocs turn them into anchors."""
    text = FENCE.sub('', path.read_text(encoding='utf-8'))
    titles = re.findall(r'^#+ (.+)$', text, re.MULTILINE)
    return {re.sub(r'[^\w -]', '', title.lower()).replace(' ', '-') for title in titles}


def without_braces(path: str) -> list[str]:
    """As a shell does it: `{a,b}.py` are `a.py` and `b.py`."""
    parts = re.split(r'\{([^}]*)\}', path)
    choices = [part.split(',') if index % 2 else [part] for index, part in enumerate(parts)]
    return [''.join(choice) for choice in itertools.product(*choices)]


@pytest.mark.parametrize(
    'path, expected',
    [
        ('configs/a.py', ['configs/a.py']),
        ('configs/{a,b}_{c,d}.py', [f'configs/{name}.py' for name in ('a_c', 'a_d', 'b_c', 'b_d')]),
    ],
)
def test_braces_are_expanded(path, expected):
    assert without_braces(path) == expected


@pages
def test_links_lead_somewhere(page):
    folder = (ROOT / page).parent
    for link in re.findall(r'\]\(([^)\s]+)\)', FENCE.sub('', TEXTS[page])):
        if re.match(r'(https?|mailto):', link):
            continue
        name, _, anchor = link.partition('#')
        target = folder / name if name else ROOT / page
        assert target.exists(), f'{page} links to {link}'
        if anchor:
            assert anchor in anchors(target), f'{page} links to {link}'


@pages
def test_named_files_exist(page):
    written = re.compile(r'--(?:out|work-dir|record) \S+')  # by the command that names it
    for match in PATHS.findall(written.sub('', TEXTS[page])):
        for path in without_braces(match.rstrip('.,')):
            actual = list(ROOT.glob(path.rstrip('/'))) if '*' in path else [ROOT / path]
            assert actual and all(file.exists() for file in actual), f'{page} names {path}'


def test_the_readme_is_a_front_door():
    assert len(TEXTS['README.md'].splitlines()) <= 150


@pages
def test_python_compiles(page):
    for code in blocks(page, 'python'):
        ast.parse(code)


def tool_commands(page: str) -> list[tuple[str, list[str]]]:
    """The commands of a page that run a tool: the module of its command line, and the words."""
    commands = []
    for line in '\n'.join(blocks(page, 'bash')).replace('\\\n', ' ').splitlines():
        tool = re.match(r'(?:python )?tools/(dist_)?(\w+)\.(?:py|sh) |mmdet-ols ', line)
        if tool is None:
            continue
        line = re.sub(r'\[--[^]]*\]', '', line)  # what may be added
        split = shlex.split(line[tool.end() :], comments=True)
        words = [word for braced in split for word in without_braces(braced)]
        is_distributed, name = tool.groups(default='')
        if is_distributed:
            del words[2 if name == 'test' else 1]  # the number of processes
        commands.append((name or 'main', words))
    return commands


class Understood(Exception):
    """A tool has taken its command line."""


@pages
def test_tools_take_the_commands_that_are_shown(page, monkeypatch, capsys):
    parse = argparse.ArgumentParser.parse_args

    def parse_and_end(self, *args, **options):
        parse(self, *args, **options)
        raise Understood

    monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', parse_and_end)
    for name, words in tool_commands(page):
        monkeypatch.setattr(sys, 'argv', [name, *words])
        try:
            importlib.import_module(f'mmdet_ols.cli.{name}').main()
        except Understood:
            continue
        except SystemExit as end:
            error = capsys.readouterr().err
            assert not end.code, f'{page}: {name} {shlex.join(words)}\n{error}'  # --help


def config_blocks() -> list[str]:
    """The blocks that a config could consist of: nothing but entries, without placeholders."""
    actual = [code for page in TEXTS for code in blocks(page, 'python')]
    return [
        code for code in actual
        if all(isinstance(node, ast.Assign) for node in ast.parse(code).body)
        and not any(word in code for word in ('...', '_base_', 'apply_method'))
    ]  # fmt: skip


def typed_nodes(node):
    """Every dict with a `type` in a config, the inner ones first."""
    children = node.values() if isinstance(node, dict) else node
    if isinstance(node, (dict, list, tuple)):
        for child in children:
            yield from typed_nodes(child)
    if isinstance(node, dict) and 'type' in node:
        yield node


@pytest.mark.parametrize('code', config_blocks())
def test_config_entries_can_be_built(code):
    from mmengine import registry as hosts
    from mmengine.config import Config
    from mmpretrain.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    registries = [value for value in vars(hosts).values() if isinstance(value, hosts.Registry)]
    for node in typed_nodes(Config.fromstring(code, '.py').to_dict()):
        name = node['type']
        scoped = [name, f'mmpretrain.{name}', f'mmdet.{name}']
        known = any(registry.get(key) for registry in registries for key in scoped)
        assert known, name
        if name in losses.__all__:
            hosts.MODELS.build({key: value for key, value in node.items() if key != '_delete_'})


@pytest.mark.parametrize('page', ['README.md', 'docs/plain_pytorch.md'])
def test_the_plain_pytorch_loop_runs(page):
    (code,) = (code for code in blocks(page, 'python') if 'for epoch in' in code)
    model = nn.Linear(5, 100)
    images, labels = torch.randn(8, 5), torch.randint(100, (8,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    # So that there is something to learn from: one sample is classified correctly.
    labels[0] = model(images[:1]).argmax()
    names = dict(
        model=model, epochs=2, loader=[(images, labels)], optimizer=optimizer,
        validate=lambda *_: None,
    )  # fmt: skip
    exec(code, names)
    start = mmdet_ols.OLSLoss(num_classes=100).soft_labels
    assert not torch.equal(names['criterion'].soft_labels, start)
    assert not names['criterion'].training


@pytest.mark.parametrize('name', losses.__all__)
def test_the_reference_has_every_loss_and_option(name):
    page = TEXTS['docs/losses.md']
    assert f'`{name}`' in page
    missing = [
        option for option in inspect.signature(getattr(losses, name)).parameters
        if f'`{option}`' not in page and option not in ('options', 'others')
    ]  # fmt: skip
    assert not missing


def test_the_reference_has_every_method_and_option():
    from mmdet_ols.methods import METHODS

    rows = dict(re.findall(r'^\| `(\w+)` \|(.*)$', TEXTS['docs/methods.md'], re.MULTILINE))
    assert rows.keys() == METHODS.keys()
    for name, method in METHODS.items():
        assert [option for option in method.options if f'`{option}`' not in rows[name]] == []


def test_the_reference_has_every_option_of_the_hook():
    page = TEXTS['docs/losses.md'].partition('## OLSHook')[2]
    options = inspect.signature(hooks.OLSHook).parameters
    assert [option for option in options if f'`{option}`' not in page] == []


def test_every_public_name_is_on_a_page():
    text = ''.join(TEXTS.values())
    public = set(mmdet_ols.__all__) - {'__version__'}
    assert {name for name in public if not re.search(rf'\b{name}\b', text)} == set()


def test_the_site_loads_nothing_remote(tmp_path):
    """What `make docs` refuses: scripts, styles and pictures from elsewhere, but not links."""
    spec = importlib.util.spec_from_file_location('offline', ROOT / 'docs/extensions/offline.py')
    offline = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(offline)
    page = '<a href="https://a.org">a</a><img src="b.png"><link rel="stylesheet" href="c.css">'
    (tmp_path / 'good.html').write_text(page)
    (tmp_path / 'c.css').write_text('body { background: url(data:image/png;base64,AAAA) }')
    assert offline.remote_resources(tmp_path) == {}
    (tmp_path / 'bad.html').write_text(
        '<script src="https://b.org/s.js"></script><img src="//c.org/i.png">'
        '<p style="background: url(http://d.org/p.png)">'
    )
    (tmp_path / 'd.css').write_text('@import "https://e.org/f.css";')
    assert offline.remote_resources(tmp_path) == {
        'bad.html': ['https://b.org/s.js', '//c.org/i.png', 'http://d.org/p.png'],
        'd.css': ['https://e.org/f.css'],
    }


@pytest.mark.slow
def test_the_tables_of_the_small_scale_are_those_of_the_rows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _, words in tool_commands('docs/paper_tables.md'):
        if words[0] == 'reproduce' and words[1:2] in (['plan'], ['page']) and 'small' in words:
            asked = [f'{ROOT}/{w}' if w.startswith('docs/evidence') else w for w in words]
            monkeypatch.setattr(sys, 'argv', ['mmdet-ols', *asked])
            main()
    made, kept = tmp_path / 'work_dirs/reproduce_small', ROOT / 'docs/reproduction_small'
    names = {'reproduction.html', 'tables.md', 'tables.csv'}
    assert {path.name for path in kept.iterdir()} == names
    for name in names:
        text = (made / name).read_text().replace(f'{ROOT}/', '')
        assert text == (kept / name).read_text(), (
            f'docs/reproduction_small/{name} is old: make it by the commands of '
            'docs/paper_tables.md, and copy it there'
        )
