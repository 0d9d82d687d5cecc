"""What kind of network, data and method a cell has, and a few cells that have all kinds."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from mmengine.config import Config

from mmdet_ols import config_path
from mmdet_ols.config_tree import type_name
from mmdet_ols.methods import parse_method
from mmdet_ols.paper import Cell
from mmdet_ols.reproduction.made_sets import made_kind
from mmdet_ols.reproduction.scales import place_of


def network_of(config: str) -> str:
    """The name of a config's network, as the paper's figures have it."""
    return place_of(config).get('network') or Path(config).stem


def kind_of_data(config: str) -> str:
    """The type of a config's data sets."""
    return made_kind(_read(config))


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
    backbone = type_name(_read(cell.config).model.backbone)
    data = ('data', kind_of_data(cell.config))
    return {('table', cell.table), ('network', backbone), data, *methods}


@lru_cache
def _read(config: str) -> Config:
    return Config.fromfile(config_path(config))
