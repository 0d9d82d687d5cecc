"""The structure of the package: imports point down, never in a circle, and files stay short."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / 'mmdet_ols'
#: From the top down, as `docs/design.md` draws them; rooms on one line do not know each other.
FLOORS = [
    {'cli'},
    {'reproduction'},
    {'experiments'},
    {'analysis'},
    {'engine'},
    {'checks'},
    {'results', 'methods', 'paper'},
    {'losses', 'models', 'datasets', 'evaluation', 'visualization'},
    {'core', 'config_tree', 'registry', 'version'},
    {'host_imports'},
]
#: A longer file has more than one subject.
MAX_LINES = 400


def modules() -> dict[str, Path]:
    paths = sorted(PACKAGE.rglob('*.py'))
    return {
        '.'.join(path.relative_to(PACKAGE.parent).with_suffix('').parts): path for path in paths
    }


MODULES = modules()


def imported(path: Path) -> set[str]:
    """The modules of the package that a file imports, anywhere in it."""
    actual = set()
    for node in ast.walk(ast.parse(path.read_text('utf-8'))):
        if isinstance(node, ast.Import):
            actual |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, f'{path} imports relatively'
            for alias in node.names:
                inner = f'{node.module}.{alias.name}'
                known = inner in MODULES or f'{inner}.__init__' in MODULES
                actual.add(inner if known else node.module)
    names = {name for name in actual if name.startswith('mmdet_ols')}
    return {name if name in MODULES else f'{name}.__init__' for name in names}


def room(module: str) -> str:
    return module.split('.')[1]


def floor(module: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room(module) in rooms)


INSIDE = [name for name in MODULES if room(name) not in ('__init__', '__main__')]


def test_imports_point_down():
    upwards = [
        f'{module} imports {other}'
        for module in INSIDE
        for other in imported(MODULES[module]) - {'mmdet_ols.__init__'}
        if room(other) != room(module) and floor(other) <= floor(module)
    ]
    assert not upwards


def test_no_file_imports_itself_by_way_of_others():
    graph = {name: imported(MODULES[name]) for name in INSIDE}
    done: set[str] = set()

    def follow(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, ' -> '.join((*way[way.index(module) :], module))
        if module in done:
            return
        for other in graph.get(module, ()):
            follow(other, (*way, module))
        done.add(module)

    for module in graph:
        follow(module, ())


def test_files_have_one_subject():
    lines = {name: path.read_text('utf-8').count('\n') for name, path in MODULES.items()}
    assert not {name: count for name, count in lines.items() if count > MAX_LINES}


def test_every_room_has_a_floor_and_lives():
    rooms = {room(name) for name in INSIDE}
    assert rooms == set().union(*FLOORS)
