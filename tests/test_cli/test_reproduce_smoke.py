"""The smoke scale of the command that makes the paper's tables, on one cell."""

from __future__ import annotations

import csv

import pytest

from mmdet_ols.cli import reproduce, reproduce_smoke
from mmdet_ols.experiments.starter import starting
from mmdet_ols.experiments.states import State
from mmdet_ols.paper import cells


@pytest.fixture
def smoke(command, monkeypatch, tmp_path):
    """Runs the tool with the cells of one method of Table XII, which it has a dozen of."""

    def some(table=None):
        return [cell for cell in cells(table or 'XII') if cell.method == 'ls']

    monkeypatch.setattr(reproduce_smoke, 'cells', some)
    words = '--scale', 'smoke', '--work-dir', tmp_path
    return lambda name, *more, **kwargs: command(reproduce.main, name, *words, *more, **kwargs)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_cell_is_run_once_and_shown(smoke, tmp_path):
    assert '│ XII   │ 1     │ 0    │ 0      │ 1       │' in smoke('plan')
    output = smoke('run')
    assert '│ XII   │ 1     │ 1    │ 0      │ 0       │' in output
    assert '1 runs; the finished ones took' in output and 'reproduction.html' in output
    (folder,) = {path.parent for path in tmp_path.rglob('smoke.json')}
    before = (folder / 'smoke.json').read_text()
    assert '│ XII   │ 1     │ 1    │' in smoke('run')
    assert (folder / 'smoke.json').read_text() == before
    smoke('page', '--table', 'XI')  # which the page does not leave out
    with (tmp_path / 'tables.csv').open() as file:
        rows = [row for row in csv.DictReader(file) if row['state'] == 'done']
    assert {row['metric'] for row in rows} == {'top1_error', 'cifar10h/kl'}
    assert all(row['table'] == 'XII' and row['method'] == 'ls' for row in rows)
    assert 'noise, in the layout of the data set (CIFAR10)' in rows[0]['notes']


def test_a_broken_cell_ends_in_an_error(smoke, monkeypatch):
    def run_smoke(made, work_dir, jobs, report):
        (run,) = reproduce_smoke.smoke_runs(made, work_dir)
        report('failed', run.folder, 'ValueError: it is broken')
        (result,) = reproduce_smoke.read_smoke(made, work_dir)
        return [result._replace(state=State('failed', 'ValueError: it is broken'))]

    monkeypatch.setattr(reproduce_smoke, 'run_smoke', run_smoke)
    output = smoke('run', ok=False)
    assert 'resnet29_cifar10.py ls failed: ValueError: it is broken' in output
    assert '1 of 1 runs are broken' in output


def test_choices_count_and_clusters_do_not(smoke):
    assert 'XII' in smoke('plan', '--choose', 'weight_decay=1e-4')
    assert 'must be one of' in smoke('plan', '--choose', 'colour=red', ok=False)
    assert 'XII' in smoke('plan')  # which no longer asks for that colour
    cluster = '--executor', 'slurm', '--slurm', 'time=1:00:00', 'gpus=0'
    assert 'leave --executor out' in smoke('run', *cluster, ok=False)


def test_a_few_cells_are_all_that_is_asked_for(smoke, tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce_smoke, 'cells', lambda table=None: cells('XII'))
    monkeypatch.setattr(reproduce_smoke, 'one_of_each_kind', lambda cells: cells[:2])
    for words in (('plan', '--each-kind'), ('status',)):
        assert '│ XII   │ 2     │ 0    │' in smoke(*words)
    smoke('page')
    with (tmp_path / 'tables.csv').open() as file:
        states = [row['state'] for row in csv.DictReader(file) if row['table'] == 'XII']
    assert states.count('waiting') == 4 and states.count('missing') == len(states) - 4
    assert '│ XII   │ 6     │' in smoke('plan', '--forget')


def test_one_process_at_a_time_runs_the_cells(smoke, tmp_path):
    with starting(tmp_path, ['mmdet-ols', 'reproduce', 'run']):
        output = smoke('run', ok=False)
    assert 'These runs were started by process' in output and 'wait for it' in output
    assert not list(tmp_path.rglob('compare.log'))
