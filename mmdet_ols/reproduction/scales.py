"""What is trained for each cell of the paper's tables, as published or reduced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

from mmdet_ols import config_path
from mmdet_ols.core.arguments import check_choice
from mmdet_ols.paper import (
    Cell,
    Figure,
    SmallCell,
    all_figures,
    apply_choices,
    cells,
    check_choices,
    same_method,
    small_cells,
)

#: As published; a part of that, reduced; a few steps that only show that a cell can be made.
PAPER, SMALL, SMOKE = 'paper', 'small', 'smoke'
#: Those whose cells are trained and tested.
SCALES = (PAPER, SMALL)
#: An option of the tools among the options of a cell.
TTA = '--tta'


def default_work_dir(scale: str) -> Path:
    """Where the runs of a scale go unless another folder is named."""
    return Path('work_dirs', f'reproduce_{scale}')


def short_option(option: str) -> str:
    """An option `KEY=VALUE` with the last part of its key only, as names of runs have it."""
    key, _, value = option.partition('=')
    return f'{key.rpartition(".")[2]}={value}'


class PlannedCell(NamedTuple):
    """One cell of the paper, and what is trained for it.

    Attributes:
        cell: The cell of the paper.
        figures: The paper's numbers for it; empty where it shows a curve.
        config: Path below `configs/` of what is trained.
        method: As for `--method`.
        options: What overrides entries of the config, each `KEY=VALUE`.
        tta: Whether it is tested with test-time augmentation.
        data: Name of its data, as for `--data`.
        notes: What a reader of its result must know, such as in what it is less than the paper's.
    """

    cell: Cell
    figures: tuple[Figure, ...]
    config: str
    method: str
    options: tuple[str, ...]
    tta: bool
    data: str
    notes: tuple[str, ...] = ()


def planned_cells(
    scale: str, tables: Sequence[str] = (), choices: Mapping[str, str] | None = None
) -> list[PlannedCell]:
    """The cells of the paper's tables, each with what is trained for it.

    Args:
        scale: 'paper' is as published; 'small' is reduced, for CPUs and real data, where there is a
            reduced form.
        tables: Such as 'II' or 'Fig. 7a'; empty is all that the scale has.
        choices: What is chosen where the paper leaves something open, by the name of the question.

    Raises:
        ValueError: There is no such scale, no such table at it, or no such choice.
    """
    check_choice('scale', scale, SCALES)
    if scale == SMALL and choices:
        raise ValueError(
            "Choices are for the scales that train the paper's cells: leave "
            f'{", ".join(choices)} out, or name another scale.'
        )
    if scale == SMALL:
        planned = [_reduced(small) for small in small_cells()]
    else:
        check_choices(choices or {})
        planned = [_as_published(cell, choices or {}) for cell in cells()]
    known = list(dict.fromkeys(row.cell.table for row in planned))
    unknown = [table for table in tables if table not in known]
    if unknown:
        raise ValueError(
            f'At the scale {scale!r} the tables are {", ".join(known)}, but got '
            f'{", ".join(unknown)}.'
        )
    return [row for row in planned if not tables or row.cell.table in tables]


@lru_cache
def read_once(config: str) -> Config:
    """Read one of the paper's configs, once for all callers, which must not change it.

    Args:
        config: Path below `configs/`.
    """
    return Config.fromfile(config_path(config))


def place_of(config: str) -> Mapping[str, Any]:
    """Data, network and share of wrong labels of one of the paper's configs; empty for others."""
    return read_once(config).get('paper_cell') or {}


def figures_of(cell: Cell) -> tuple[Figure, ...]:
    """The paper's own numbers for a cell."""
    place = place_of(cell.config)
    setting = place['data'], place['network'], place.get('noise_rate', 0.0)
    return tuple(
        figure
        for figure in all_figures()
        if figure.table == cell.table
        and (figure.data, figure.network, figure.noise_rate) == setting
        and same_method(figure.method, cell.method)
        and not figure.source
    )


def _as_published(cell: Cell, choices: Mapping[str, str]) -> PlannedCell:
    made = apply_choices(cell, choices)
    options = tuple(option for option in made.options if option != TTA)
    return PlannedCell(
        cell,
        figures_of(cell),
        made.config,
        made.method,
        options,
        TTA in made.options,
        place_of(made.config).get('data', place_of(cell.config)['data']),
    )


def _reduced(small: SmallCell) -> PlannedCell:
    return PlannedCell(
        small.cell,
        figures_of(small.cell),
        small.config,
        small.method,
        small.options,
        tta=False,
        data=small.data,
        notes=(f'Reduced: {small.reduced}.',),
    )
