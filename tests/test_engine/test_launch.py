"""Runners are built where they can run."""

from __future__ import annotations

import os

import pytest
import torch
from mmengine.config import Config

from mmdet_ols.checks.processes import is_first_on_machine
from mmdet_ols.engine.launch import STARTED_BY, build_runner, set_local_rank


@pytest.mark.parametrize('launcher', ['pytorch', 'slurm', 'mpi'])
def test_a_launcher_that_has_started_nothing_is_said(launcher, monkeypatch):
    for variable, _ in STARTED_BY.values():
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ValueError, match=f'--launcher {launcher} is for processes that .* starts'):
        build_runner(Config(dict(launcher=launcher)))


@pytest.mark.parametrize(
    ('launcher', 'variable'),
    [
        ('pytorch', 'LOCAL_RANK'),
        ('slurm', 'SLURM_LOCALID'),
        ('mpi', 'OMPI_COMM_WORLD_LOCAL_RANK'),
    ],
)
def test_every_launcher_says_which_process_of_a_machine_this_is(launcher, variable, monkeypatch):
    monkeypatch.setattr(os, 'environ', {variable: '3'})
    set_local_rank(0, launcher)
    assert os.environ['LOCAL_RANK'] == '3' and not is_first_on_machine()


def test_a_process_that_no_launcher_numbers_is_told_its_number(monkeypatch):
    """As in a shell on a cluster, whose variables are those of the shell."""
    monkeypatch.setattr(os, 'environ', {'SLURM_LOCALID': '3'})
    set_local_rank(1, 'pytorch')
    assert os.environ['LOCAL_RANK'] == '1'


@pytest.mark.parametrize(
    ('value', 'written'),
    [(object(), 'object object at'), (float('inf'), 'inf'), (torch.bfloat16, 'torch')],
)
def test_what_no_dump_could_hold_is_said_before_the_run(value, written):
    cfg = Config(dict(model=dict(type='Net', init=value)), format_python_code=False)
    with pytest.raises(ValueError, match=rf"in the run's folder can be read, .*{written}.* there"):
        build_runner(cfg)
