"""What kind of network, data and method a cell has, and a few cells that have all kinds."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mmdet_ols.config_tree import type_name
from mmdet_ols.methods import parse_method
from mmdet_ols.paper import Cell
from mmdet_ols.reproduction.made_sets import made_kind
from mmdet_ols.reproduction.scales import place_of, read_once


def network_of(config: str) -> str:
    """The name of a config's network, as the paper's figures have it."""
    return place_of(config).get('network') or Path(config).stem


def kind_of_data(config: str) -> str:
    """The type of a config's data sets."""
    return made_kind(read_once(config))


def one_of_each_kind(cells: Iterable[Cell]) -> list[Cell]:
    """Choose a few cells in which each table, method, kind of network and kind of data occurs.

    Args:
        cells: Cells of the paper.

    Returns:
        Some of them, in their order.
    """
    kinds = {cell: _kinds(cell) for cell in dict.fromkeys(cells)}
    missing = set().union(*kinds.values())
    chosen = []
    while missing:
        best = max(kinds, key=lambda cell: len(kinds[cell] & missing))  # the first of the best
        chosen.append(best)
        missing -= kinds[best]
    return [cell for cell in kinds if cell in chosen]


def _kinds(cell: Cell) -> set[tuple[str, str]]:
    methods = {('method', name) for name, _ in parse_method(cell.method).parts}
    backbone = type_name(read_once(cell.config).model.backbone)
    data = ('data', kind_of_data(cell.config))
    return {('table', cell.table), ('network', backbone), data, *methods}
