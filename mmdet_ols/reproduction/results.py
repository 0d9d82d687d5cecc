"""What was reached for each cell of the paper."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from mmdet_ols.experiments.states import State
from mmdet_ols.paper import Cell, Figure
from mmdet_ols.reproduction.plan import Plan
from mmdet_ols.reproduction.scales import PlannedCell
from mmdet_ols.results.run_folder import Run


class CellResult(NamedTuple):
    """One cell of the paper with the runs that make it.

    Attributes:
        cell: The paper's cell.
        figures: The paper's numbers for it; empty where it gives none, as in its figures.
        config: What was really run at this scale.
        method: The method that it was run with.
        options: The options that it was run with.
        runs: By seed, unfinished ones too.
        made: By seed, how each start of the run was made: command, machine, versions, date.
        states: By seed, where they stand.
        notes: What a reader must know, such as what was reduced.
        data_root: Where its data lie; None where that is the config's own place.
    """

    cell: Cell
    figures: tuple[Figure, ...]
    config: str
    method: str
    options: tuple[str, ...]
    runs: Mapping[int, Run]
    made: Mapping[int, list[dict[str, str]]]
    states: Mapping[int, State]
    notes: tuple[str, ...]
    data_root: str | None = None

    @property
    def failures(self) -> dict[int, str]:
        """Why runs failed, by seed."""
        states = self.states.items()
        return {seed: state.why.strip() for seed, state in states if state.name == 'failed'}


def cell_results(plan: Plan) -> list[CellResult]:
    """The runs of each cell, finished or not."""
    return [_result(plan, cell) for cell in plan.cells]


def _result(plan: Plan, cell: PlannedCell) -> CellResult:
    folders = plan.folders_of(cell)
    variant = plan.variant(next(iter(folders.values())))
    return CellResult(
        cell.cell,
        cell.figures,
        cell.config,
        cell.method,
        variant.request.options,  # those of the cell, and what overrides entries of its config
        runs={seed: plan.read(folder) for seed, folder in folders.items()},
        made={seed: plan.made(folder) for seed, folder in folders.items()},
        states={seed: _state(plan, folder) for seed, folder in folders.items()},
        notes=cell.notes,
        data_root=variant.data_root,
    )


def _state(plan: Plan, folder: Path) -> State:
    """Where a run stands; of why it failed, the last line, which mostly is the error."""
    state = plan.state(folder)
    return state._replace(why=state.why.strip().rpartition('\n')[2])
