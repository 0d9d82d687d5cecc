"""Results of the paper's cells that no run made."""

from __future__ import annotations

from pathlib import Path

from mmdet_ols.experiments.states import State
from mmdet_ols.paper import cells
from mmdet_ols.reproduction.results import CellResult
from mmdet_ols.reproduction.scales import figures_of
from mmdet_ols.results.run_folder import Run

RECORD = dict(
    command='`mmdet-ols reproduce run`',
    machine='a <fast> machine, 4 cores',
    versions='torch 2.11.0, mmdet_ols 0.3 (git abc1234)',
    date='2026-11-26',
)


def the_cell(table, network, method, noise=None):
    """A cell of a table by what its config's name begins with, and its wrong labels in per cent."""
    named = f'noise{noise}' if noise else ''
    (cell,) = [
        cell
        for cell in cells(table)
        if Path(cell.config).name.startswith(network)
        and cell.method == method
        and (named in cell.config if named else 'noise' not in cell.config)
    ]
    return cell


def made_result(cell, values, key='accuracy/top1', **other):
    """The result of a cell whose runs reached these values, by seed."""
    runs = {
        seed: Run(Path(cell.config, cell.method), 300, 300, {300: {key: value}}, seconds=60.0)
        for seed, value in values.items()
    }
    made = {seed: [RECORD] for seed in runs}
    states = dict.fromkeys(runs, State('finished'))
    result = CellResult(
        cell, figures_of(cell), cell.config, cell.method, cell.options, runs, made, states, ()
    )
    return result._replace(**other)


def result(table, network, method, errors, noise=None, **other):
    """The result of a cell whose runs reached these top-1 errors, the first with seed 0."""
    accuracies = {seed: 100 - error for seed, error in enumerate(errors)}
    return made_result(the_cell(table, network, method, noise), accuracies, **other)
