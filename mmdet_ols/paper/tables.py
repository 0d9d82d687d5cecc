"""Reading the paper's tables.

`results.csv` holds every figure of the paper's tables, those that it quotes from other papers
included. `cells.csv` says how a figure is made: which config below `configs/`, with which
method and which further options of `tools/compare.py`; `small_cells.csv` says what stands for it
on a CPU. `data_sets.csv` holds the sizes of the data sets.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from mmdet_ols.core.arguments import check_choice

_FOLDER = Path(__file__).parent
#: The keys of `paper_cell` in a config.
_CELL_KEYS = ('data', 'network', 'noise_rate', 'method')


class Figure(NamedTuple):
    """One number of the paper.

    Attributes:
        table: As the paper numbers it, such as 'II'; 'V-E' is the section of that number.
        data: The data set, as in the names of the configs.
        network: The network, as in the names of the configs.
        method: As for the tools' `--method`, such as 'sce:alpha=0.1,beta=1.0'.
        noise_rate: Share of wrong training labels.
        metric: As the runs log it, or 'top1_error' and 'top5_error', in per cent; 'cifar10h/kl' is
            in nats.
        value: The number; a mean of three runs where there is a standard deviation.
        sd: The standard deviation, or None.
        source: Empty for the paper's own figures, otherwise the paper that it quotes.
        note: What a reader should know.
    """

    table: str
    data: str
    network: str
    method: str
    noise_rate: float
    metric: str
    value: float
    sd: float | None
    source: str
    note: str


class Cell(NamedTuple):
    """How one cell of a table is made.

    Attributes:
        table: As the paper numbers it, such as 'II' or 'Fig. 7a'.
        config: Path below `configs/`.
        method: As for the tools' `--method`.
        options: Further words: options of the tools ('--tta') or entries of `--cfg-options`.
    """

    table: str
    config: str
    method: str
    options: tuple[str, ...]


class SmallCell(NamedTuple):
    """A cell in a reduced form, for a CPU and real data.

    Attributes:
        cell: The cell of the paper.
        config: Path below `configs/` of what is trained for it.
        method: As for the tools' `--method`.
        options: Entries of `--cfg-options`.
        data: A name for its data.
        reduced: In what it is less than the paper's.
    """

    cell: Cell
    config: str
    method: str
    options: tuple[str, ...]
    data: str
    reduced: str


class DataSet(NamedTuple):
    """The size of a data set as the paper trains on it.

    Attributes:
        data: Its name, as in the names of the configs.
        split: The `split` of the training data that it holds for; empty is any.
        training_images: How many images an epoch has.
        test_images: How many are tested.
        classes: How many classes there are.
        source: Where the numbers are from.
    """

    data: str
    split: str
    training_images: int
    test_images: int
    classes: int
    source: str


@lru_cache
def all_figures() -> tuple[Figure, ...]:
    """Every figure of the paper's tables, those that it quotes from other papers included."""
    return tuple(
        Figure(
            **dict(
                row,
                noise_rate=float(row['noise_rate'] or 0),
                value=float(row['value']),
                sd=float(row['sd']) if row['sd'] else None,
            )
        )
        for row in read_rows('results.csv')
    )


@lru_cache
def _all_cells() -> tuple[Cell, ...]:
    return tuple(
        Cell(row['table'], row['config'], row['method'], tuple(row['options'].split()))
        for row in read_rows('cells.csv')
    )


def cells(table: str | None = None) -> list[Cell]:
    """The cells of the paper's tables and figures that this project can make.

    Args:
        table: One of them, such as 'II', 'V-E' or 'Fig. 7a'; None is all.

    Raises:
        ValueError: There is no such table.
    """
    known = list(dict.fromkeys(cell.table for cell in _all_cells()))
    if table is not None:
        check_choice('table', table, known)
    return [cell for cell in _all_cells() if table in (None, cell.table)]


@lru_cache
def small_cells() -> tuple[SmallCell, ...]:
    """The cells that have a form for CPUs."""
    by_key = {cell[:3]: cell for cell in _all_cells()}
    return tuple(
        SmallCell(
            by_key[row['table'], row['paper_config'], row['paper_method']],
            row['config'],
            row['method'],
            tuple(row['options'].split()),
            row['data'],
            row['reduced'],
        )
        for row in read_rows('small_cells.csv')
    )


@lru_cache
def data_sets() -> tuple[DataSet, ...]:
    """The sizes of the paper's data sets."""
    counts = ('training_images', 'test_images', 'classes')
    return tuple(
        DataSet(**dict(row, **{key: int(row[key]) for key in counts}))
        for row in read_rows('data_sets.csv')
    )


def figures(cell: Mapping[str, Any], method: str | None = None) -> list[dict[str, Any]]:
    """The paper's figures for one config and one method.

    Args:
        cell: The config's `paper_cell`: `data` and `network`, and where they apply `noise_rate`
            and `method`, the latter where the config itself is one of a method.
        method: What was applied to the config, as for the tools' `--method`. Its options count: the
            paper's figure for 'ols' says nothing of 'ols:alpha=0.3'. None is the config as it
            stands: `method` of the cell, or hard labels.

    Returns:
        For each figure `table`, `metric` and `value`, and `sd` and `note` where there are any;
        empty where the paper has none.

    Raises:
        ValueError: The cell lacks its data or network, or holds something else.
    """
    if not {'data', 'network'} <= set(cell) <= set(_CELL_KEYS):
        raise ValueError(
            '`paper_cell` must be a dict with data and network, and may have noise_rate and '
            f'method, but got the keys {sorted(cell)}.'
        )
    return paper_results(
        method or cell.get('method', 'hard'),
        cell['data'],
        cell['network'],
        cell.get('noise_rate', 0.0),
    )


def paper_results(
    method: str, data: str, network: str, noise_rate: float = 0.0
) -> list[dict[str, Any]]:
    """The paper's figures for one method in one setting.

    Args:
        method: As for the tools' `--method`, such as 'ols' or 'sce:alpha=0.1,beta=1.0'.
        data: The data set, as in the names of the configs.
        network: The network, as in the names of the configs.
        noise_rate: Share of wrong training labels.

    Returns:
        As `figures`. Figures that the paper quotes from others are left out.
    """
    results = []
    for figure in all_figures():
        setting = (figure.data, figure.network, figure.noise_rate)
        if figure.source or setting != (data, network, noise_rate):
            continue
        if not same_method(figure.method, method):
            continue
        result: dict[str, Any] = dict(table=figure.table, metric=figure.metric, value=figure.value)
        if figure.sd is not None:
            result['sd'] = figure.sd
        if figure.note:
            result['note'] = figure.note
        results.append(result)
    return results


def same_method(a: str, b: str) -> bool:
    """Whether two texts name the same method with the same options, in whatever order."""
    return _parts(a) == _parts(b)


def method_parts(method: str) -> dict[str, dict[str, str]]:
    """The options of each method that a text joins, by its name, as they are written."""
    parts = {}
    for part in method.split('+'):
        name, _, options = part.partition(':')
        pairs = (option.partition('=') for option in options.split(',') if option)
        parts[name.strip()] = {key.strip(): value.strip() for key, _, value in pairs}
    return parts


def read_rows(name: str) -> list[dict[str, Any]]:
    """The rows of one of the files of this room."""
    with (_FOLDER / name).open(encoding='utf-8', newline='') as file:
        return list(csv.DictReader(file))


@cache
def _parts(method: str) -> dict[str, dict[str, Any]]:
    """Names and options of a method's text, so that their order and '6' for '6.0' do not matter."""
    return {
        name: {key: _value(value) for key, value in options.items()}
        for name, options in method_parts(method).items()
    }


def _value(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text
