"""What the tools that start many runs do alike."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from mmdet_ols.cli.execution import recording, run_or_watch
from mmdet_ols.experiments.starter import STARTER

LOCAL = argparse.Namespace(executor='local', jobs=1)


def display(warnings):
    return SimpleNamespace(report=lambda *event: None, warn=warnings.append)


@pytest.mark.parametrize('error', [OSError('the disk is full'), ValueError('a broken row')])
def test_what_cannot_be_kept_is_a_warning_and_ends_no_run(error):
    def keep(folder):
        raise error

    warnings = []
    report = recording(
        LOCAL, display(warnings), lambda folder: SimpleNamespace(keep=keep), lambda folder: None, {}
    )
    report('finished', Path('run'), '')
    assert warnings == [error]


def test_what_cannot_be_read_to_be_shown_ends_no_run():
    def fail(*event):
        raise error

    error, recorded = OSError('Stale file handle'), []
    experiment = SimpleNamespace(record=lambda folder, made: recorded.append(folder))
    warnings = []
    shown = SimpleNamespace(report=fail, warn=warnings.append)
    report = recording(LOCAL, shown, lambda folder: experiment, lambda folder: None, {})
    report('running', Path('run'), '')
    report('started', Path('run'), '')
    assert warnings == [error, error] and recorded == [Path('run')]


def test_a_folder_that_cannot_be_written_into_is_a_message(tmp_path):
    (tmp_path / STARTER).mkdir()  # root may write anywhere else
    with pytest.raises(SystemExit, match=rf'error: .*{STARTER}'):
        run_or_watch(LOCAL, tmp_path, [], nullcontext(), lambda *event: None, {})
