"""How much of its weights a run starts with, as one table, with what is wrong about it."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from mmengine.logging import print_log
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mmdet_ols.checks.logs import warn
from mmdet_ols.checks.matching import WeightMatch
from mmdet_ols.checks.problems import Problems, listed


class WeightRow(NamedTuple):
    """Where the values of one part of a model come from, and how many do."""

    source: str
    part: str
    tensors: str
    parameters: str
    #: What has no values from there.
    rest: str

    @classmethod
    def of(cls, source: str, part: str, match: WeightMatch) -> WeightRow:
        """The row of what a state dict gives to a part, and which tensors it should have given."""
        return cls(
            source,
            part,
            f'{len(match.loaded)} of {len(match.sizes)}',
            percent(match.share),
            some_layers(match.lacking, at_most=2) or '-',
        )

    @classmethod
    def unknown(cls, source: str, part: str, reason: str) -> WeightRow:
        """The row of a part that is loaded in a way that a check cannot follow."""
        return cls(source, part, '?', '?', reason)


@dataclass
class WeightReport(Problems):
    """What is known about the weights that a run starts with, and what is wrong with them."""

    rows: list[WeightRow] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def say(self) -> None:
        """Log the table, the notes and the warnings."""
        if self.rows:
            print_log(f'Weights that the model starts with:\n{self.table()}', logger='current')
        for note in self.notes:
            print_log(note, logger='current')
        for warning in self.warnings:
            warn(warning)

    def table(self) -> str:
        """The rows as text."""
        table = Table()
        for name in ('from', 'part', 'tensors', 'parameters', 'not from there'):
            table.add_column(name, overflow='fold')
        for row in self.rows:
            table.add_row(*map(Text, row))  # as they are: a path may hold brackets
        text = io.StringIO()
        Console(file=text, width=110, color_system=None).print(table)
        return text.getvalue().rstrip()


def percent(share: float) -> str:
    """A share in per cent, rounded so that only all of it is 100 %, and only nothing 0 %."""
    if 0 < share < 1:
        share = min(max(share, 0.001), 0.999)
    return f'{100 * share:.4g} %' if share in (0, 1) else f'{100 * share:.1f} %'


def some_layers(keys: Iterable[str], at_most: int = 6) -> str:
    """The layers of some tensors, and how many more there are."""
    layers = dict.fromkeys(key.rpartition('.')[0] or key for key in sorted(keys))
    return listed(layers, at_most)
