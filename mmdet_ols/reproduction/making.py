"""How the runs of a reproduction were made, and the commands that make them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from statistics import median
from typing import NamedTuple

from mmdet_ols.experiments.tables import duration
from mmdet_ols.reproduction.layout import method_title
from mmdet_ols.reproduction.results import CellResult
from mmdet_ols.reproduction.scales import default_work_dir, short_option

#: What is shown of the record of a start.
FACTS = ('machine', 'versions', 'date', 'read from', 'command')


class Place(NamedTuple):
    """Where the runs of a page are made.

    Attributes:
        scale: 'paper', 'small' or 'smoke'.
        work_dir: The folder of all runs, and of the page.
    """

    scale: str
    work_dir: Path

    def command_to_reproduce(self, table: str) -> str:
        """The command that makes a table or a figure.

        Args:
            table: As the paper numbers it.
        """
        words = ['mmdet-ols', 'reproduce', 'run', '--table', table, '--scale', self.scale]
        if self.work_dir != default_work_dir(self.scale):
            words += ['--work-dir', str(self.work_dir)]
        return shlex.join(words)


def commands_to_compare(results: Iterable[CellResult]) -> list[str]:
    """One `tools/compare.py` for all cells that share config, data, options and seeds."""
    groups: dict[tuple[str, str | None, tuple[str, ...], tuple[int, ...]], list[str]] = {}
    for result in results:
        seeds = tuple(sorted({*result.runs, *result.states}))
        shared = result.config, result.data_root, _options(result), seeds
        methods = groups.setdefault(shared, [])
        if result.method not in methods:
            methods.append(result.method)
    return [_compare(methods, *shared) for shared, methods in groups.items()]


def made_table(results: Sequence[CellResult]) -> tuple[list[str], list[list[str]]]:
    """How runs were made: header and rows, one for all runs whose starts recorded the same.

    The first column has the runs: their config, methods, seeds and time. Columns of which nothing
    was recorded are left out; there are no rows where no run is finished.
    """
    groups: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for result in results:
        for facts, seeds in _seeds_by_facts(result).items():
            seconds = [result.runs[seed].seconds for seed in seeds if result.runs[seed].seconds]
            time = duration(median(seconds)) if seconds else ''
            plural = 's' if len(seeds) > 1 else ''
            said = f'seed{plural} {", ".join(map(str, seeds))}'
            said += f'; median {time} a run' if seconds else ''
            methods = groups.setdefault(facts, {}).setdefault(_config(result), [])
            methods.append(f'{method_title(result.method)} ({said})')
    shown = [i for i in range(len(FACTS)) if any(facts[i] for facts in groups)]
    rows = [
        ['. '.join(f'{config}: {", ".join(methods)}' for config, methods in by_config.items())]
        + [facts[i] for i in shown]
        for facts, by_config in groups.items()
    ]
    return ['runs', *(FACTS[i] for i in shown)], rows


def name_of(result: CellResult) -> str:
    """A cell as it was run: its method and config."""
    return f'{method_title(result.method)}, {_config(result)}'


def _seeds_by_facts(result: CellResult) -> dict[tuple[str, ...], list[int]]:
    """The seeds of a cell's finished runs, by what their starts recorded."""
    seeds: dict[tuple[str, ...], list[int]] = {}
    for seed, run in sorted(result.runs.items()):
        if run.final:
            records = result.made.get(seed, [])
            facts = (_joined(record.get(fact, '') for record in records) for fact in FACTS)
            seeds.setdefault(tuple(facts), []).append(seed)
    return seeds


def _config(result: CellResult) -> str:
    """The name of what was trained, with what overrides its entries."""
    return ' '.join([PurePosixPath(result.config).stem, *map(short_option, result.options)])


def _options(result: CellResult) -> tuple[str, ...]:
    """The options of a cell, with test-time augmentation where it is made as published."""
    published = PurePosixPath(result.config).name == PurePosixPath(result.cell.config).name
    flags = [word for word in result.cell.options if '=' not in word] if published else []
    return tuple(dict.fromkeys([*flags, *result.options]))


def _compare(
    methods: Sequence[str],
    config: str,
    data_root: str | None,
    options: Sequence[str],
    seeds: Sequence[int],
) -> str:
    words = ['python', 'tools/compare.py', str(Path('configs', config)), '--methods', *methods]
    words += ['--seeds', *map(str, seeds)] if seeds else []
    words += ['--data-root', data_root] if data_root else []
    words += [word for word in options if '=' not in word]
    entries = [word for word in options if '=' in word]
    words += ['--cfg-options', *entries] if entries else []
    return shlex.join(words)


def _joined(texts: Iterable[str]) -> str:
    return '; '.join(dict.fromkeys(text.strip('`') for text in texts if text))
