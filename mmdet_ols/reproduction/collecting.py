"""What the runs of a plan have reached, by the cells that they serve."""

from __future__ import annotations

from pathlib import Path

from mmdet_ols.experiments.states import State
from mmdet_ols.reproduction.plan import Plan
from mmdet_ols.reproduction.results import CellResult
from mmdet_ols.reproduction.scales import PlannedCell


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
