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
