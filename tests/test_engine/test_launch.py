"""Runners are built where they can run."""

from __future__ import annotations

import pytest
from mmengine.config import Config

from mmdet_ols.engine.launch import STARTED_BY, build_runner


@pytest.mark.parametrize('launcher', ['pytorch', 'slurm', 'mpi'])
def test_a_launcher_that_has_started_nothing_is_said(launcher, monkeypatch):
    for variable, _ in STARTED_BY.values():
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ValueError, match=f'--launcher {launcher} is for processes that .* starts'):
        build_runner(Config(dict(launcher=launcher)))


def test_what_no_dump_could_hold_is_said_before_the_run():
    cfg = Config(dict(model=dict(type='Net', init=object())), format_python_code=False)
    with pytest.raises(ValueError, match=r"in the run's folder can be read, .*object object at"):
        build_runner(cfg)
