"""What is said about runs in progress where there is no terminal."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from rich.table import Table

from mmdet_ols.experiments import display as run_display
from mmdet_ols.results.run_folder import Run


class Experiment:
    """Three runs of ten epochs; a test sets how far they are."""

    def __init__(self):
        self.runs = {Path(name): Run(Path(name), 10) for name in 'abc'}
        self.folders = list(self.runs)

    def read(self, folder):
        return self.runs[folder]

    def label(self, folder):
        return f'run {folder}'

    def newest(self, run):
        return f'mAP {max(run.validations, default=0)}'

    def at(self, name, done, **values):
        validations = {epoch: {'mAP': 0.0} for epoch in range(1, int(done) + 1)}
        self.runs[Path(name)] = Run(Path(name), 10, done, validations, **values)


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(run_display.time, 'monotonic', lambda: now[0])
    return now


def said(capsys):
    """What was printed since the last time, without the time of day."""
    return re.sub(r'^\d\d:\d\d:\d\d ', '', capsys.readouterr().out, flags=re.M)


def test_a_line_a_change_and_how_long_is_left(capsys, clock):
    experiment = Experiment()
    experiment.at('c', 10)  # finished before
    display = run_display.RunDisplay(experiment, jobs=1)
    assert display.open == [Path('a'), Path('b')]
    with display:
        assert said(capsys) == '1 of 3 runs are finished and kept\n'
        display.report('started', Path('a'), 'the command')
        assert said(capsys) == 'run a started: the command\n'
        display.report('running', Path('a'), '')
        assert said(capsys) == ''
        clock[0] = 40.0
        experiment.at('a', 2)
        display.report('running', Path('a'), '')
        # 20 s an epoch; 8 are left of this run and 10 of the other one.
        assert said(capsys) == 'run a at 2 of 10, mAP 2, 6 min 00 s left\n'
        display.report('running', Path('a'), '')
        assert said(capsys) == ''
        clock[0] = 200.0
        experiment.at('a', 10, seconds=200.0)
        display.report('finished', Path('a'), '')
        assert said(capsys) == 'run a finished: mAP 10 in 3 min 20 s, 3 min 20 s left\n'
        display.report('failed', Path('b'), 'exit status 1\nBecause')
        assert said(capsys) == 'run b failed: exit status 1\nBecause\n'


def test_side_by_side_it_takes_as_long_as_the_longest(capsys, clock):
    experiment = Experiment()
    display = run_display.RunDisplay(experiment, jobs=2)
    with display:
        experiment.at('a', 4)  # resumed here: these epochs say nothing about the pace
        display.report('started', Path('a'), '')
        display.report('started', Path('b'), '')
        clock[0] = 60.0
        experiment.at('b', 2)
        experiment.at('a', 6)
        display.report('running', Path('b'), '')
        said(capsys)
        display.report('running', Path('a'), '')
        # 30 s an epoch; (4 + 8 + 10) / 2 = 11 are left, more than the 10 of the longest run.
        assert said(capsys) == 'run a at 6 of 10, mAP 6, 5 min 30 s left\n'


def test_how_long_is_left_where_a_cluster_has_room_for_one_run_only(capsys, clock):
    experiment = Experiment()
    with run_display.RunDisplay(experiment, jobs=256) as display:
        display.report('started', Path('a'), '')
        clock[0] = 600.0
        experiment.at('a', 10, seconds=600.0)
        display.report('running', Path('a'), '')
        assert 'run a at 10 of 10, mAP 10, 20 min 00 s left' in said(capsys)
        display.report('started', Path('b'), '')
        display.report('finished', Path('a'), '')
        display.report('started', Path('c'), '')
        clock[0] = 660.0
        experiment.at('b', 1)
        display.report('running', Path('b'), '')
        assert 'run b at 1 of 10, mAP 1, 10 min 00 s left' in said(capsys)


def test_brackets_are_printed_as_they_are(capsys):
    """Names, options and messages hold them."""
    table = Table('[bold]name')
    table.add_row('stages=[red]')
    run_display.make_console().print('[dim]said', table)
    printed = capsys.readouterr().out
    assert '[dim]said' in printed and '[bold]name' in printed and 'stages=[red]' in printed
