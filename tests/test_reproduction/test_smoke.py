"""Cells of the paper for a few steps: what is broken is said, and the others go on."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from toy_results import made_result

from mmdet_ols.cli import plot_features
from mmdet_ols.experiments.states import State
from mmdet_ols.paper import Cell, cells
from mmdet_ols.reproduction import smoke
from mmdet_ols.reproduction.features import picture_task
from mmdet_ols.reproduction.scales import place_of
from mmdet_ols.reproduction.smoke import by_cell, read_smoke, run_smoke, smoke_runs
from mmdet_ols.reproduction.smoke_kinds import one_of_each_kind
from mmdet_ols.reproduction.smoke_run import read_row, wanted_metrics, write_row

CONFIG = 'cifar100/resnet56_cifar100.py'
GOOD = Cell('VII', CONFIG, 'pencil', ())
#: The same run, whose network is drawn as well.
DRAWN = Cell('Fig. 3', CONFIG, 'pencil', ())
PUPIL = Cell('VII', CONFIG, 'tfkd_self', ())
NO_NUMBER = Cell('VII', CONFIG, 'sce', ('optim_wrapper.optimizer.lr=1e30',))
NO_STEP = Cell('VII', CONFIG, 'ls', ('model.head.in_channels=3',))
#: Nothing in this config averages checkpoints, of which the table is.
NO_METRIC = Cell('III', CONFIG, 'hard', ())
KILLED = Cell('VII', CONFIG, 'ols', ('default_hooks.timer.type=killer.Killer',))
KILLER = """
import os
from mmengine.hooks import Hook

class Killer(Hook):
    def before_train(self, runner):
        os.kill(os.getpid(), 9)
"""


@pytest.fixture(scope='module')
def started(tmp_path_factory):
    """The results of these cells, what was reported, and their folder."""
    folder = tmp_path_factory.mktemp('smoke')
    (folder / 'killer.py').write_text(KILLER)
    reports = []
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        asked = [NO_NUMBER, NO_STEP, KILLED, PUPIL, NO_METRIC, GOOD, DRAWN]
        results = run_smoke(asked, folder, 2, lambda *report: reports.append(report))
    return results, reports, folder


def result_of(results, method):
    (result,) = [result for result in results if result.smoke_run.method == method]
    return result


def test_a_good_cell_has_the_metrics_of_its_run(started):
    results, *_ = started
    for method in ('pencil', 'tfkd_self'):
        result = result_of(results, method)
        assert result.state.name == 'finished'
        assert result.run.done == result.run.length == 5
        assert result.run.final is not None
        assert {'accuracy/top1', 'calibration/ece'} <= set(result.run.final)
        assert result.made[0]['versions'].startswith('Python')
        assert any('8 pixels' in note for note in result.notes)
        assert result.cpu_seconds > 0


@pytest.mark.parametrize(
    ('method', 'why'),
    [
        ('sce', r'`loss` of step \d+ is nan'),
        ('ls', 'RuntimeError: .*shapes cannot be multiplied'),
        ('ols', 'signal 9 ended its process'),
        ('hard', 'It did not log ensemble/top1_error_1 of Table III, only accuracy/top1'),
    ],
)
def test_a_broken_cell_says_why(method, why, started):
    results, reports, _ = started
    result = result_of(results, method)
    assert result.state.name == 'failed'
    pytest.raises(ValueError, raise_, result.state.why).match(why)
    assert ('failed', result.smoke_run.folder, result.state.why) in reports


def raise_(text):
    raise ValueError(text)


def test_a_traceback_is_in_the_log(started):
    results, *_ = started
    log = (result_of(results, 'ls').smoke_run.folder / 'compare.log').read_text()
    assert 'Traceback (most recent call last)' in log


def test_each_cell_has_its_result(started):
    results, *_ = started
    of = by_cell(results)
    assert set(of) == {NO_NUMBER, NO_STEP, KILLED, PUPIL, NO_METRIC, GOOD, DRAWN}
    assert of[PUPIL].smoke_run.method == 'tfkd_self'


def test_a_teacher_comes_before_its_pupil(started):
    results, reports, _ = started
    pupil = result_of(results, 'tfkd_self').smoke_run
    order = [folder for event, folder, _ in reports if event == 'started']
    assert pupil.teacher is not None
    assert order.index(pupil.teacher.folder) < order.index(pupil.folder)
    assert pupil.teacher.checkpoint is not None
    assert pupil.checkpoint is None  # it takes space, and no run learns from it


def test_features_are_drawn_from_what_a_cell_leaves(started, monkeypatch):
    results, _, folder = started
    assert by_cell(results)[DRAWN].smoke_run.checkpoint is not None
    run = result_of(results, 'hard').run  # that of `pencil` depends on the number of images
    task = picture_task([made_result(DRAWN, {}, runs={0: run})], folder, perplexity=3.0)
    monkeypatch.setattr(sys, 'argv', task.next_command()[2:])
    plot_features.main()
    assert task.next_command() is None
    assert np.load(task.folder / 'features_1.npz')['points'].shape == (8, 2)


def test_what_is_done_is_not_done_again(started, monkeypatch):
    results, _, folder = started
    before = {row.smoke_run.folder: read_row(row.smoke_run.folder) for row in results}
    reports = []
    again = run_smoke([GOOD, DRAWN], folder, 1, lambda *report: reports.append(report))
    assert reports == []
    assert again == [result_of(results, 'pencil')]
    assert before[again[0].smoke_run.folder] == read_row(again[0].smoke_run.folder)
    monkeypatch.setattr(smoke, 'code_key', lambda: 'another code')
    runs = []
    monkeypatch.setattr(smoke._Pool, 'run', lambda self, todo: runs.extend(todo))
    run_smoke([GOOD, DRAWN], folder, 1)
    assert runs == [result_of(results, 'pencil').smoke_run]


def test_what_was_not_started_waits(tmp_path):
    (result,) = read_smoke([GOOD], tmp_path)
    assert (result.state, result.run.final, result.made) == (State('waiting'), None, [])


def test_cells_of_several_tables_are_one_run(tmp_path):
    runs = smoke_runs(cells(), tmp_path)
    assert sum(len(run.cells) for run in runs) == len(cells())
    assert len({run.folder for run in runs}) == len(runs) < len(cells())
    (shared,) = [
        run
        for run in runs
        if (run.config, run.method, run.options) == ('cifar10/resnet29_cifar10.py', 'ols', ())
    ]
    assert [cell.table for cell in shared.cells] == ['VIII', 'XII']
    configs = [run.config for run in runs]
    first = configs.index('imagenet/resnet50_imagenet.py')
    nearby = configs[first - 20 : first + 40]
    assert 'fine_grained/resnet50_cub.py' in nearby  # of the same network


def test_other_values_of_options_go_into_other_folders(tmp_path):
    runs = smoke_runs(
        [GOOD._replace(options=(f'a.b={value}', 'c=d/e')) for value in ('0.25', '1.25')], tmp_path
    )
    assert [run.folder.name for run in runs] == ['pencil_b=0.25_c=d_e', 'pencil_b=1.25_c=d_e']


def test_it_is_known_what_each_cell_has_to_log(tmp_path):
    for run in smoke_runs(cells(), tmp_path):
        tables = {table for _, table in wanted_metrics(run, place_of(run.config))}
        assert tables == {cell.table for cell in run.cells}


def test_a_few_cells_have_all_kinds():
    few = one_of_each_kind(cells())
    assert len(few) < 30
    assert {cell.table for cell in few} == {cell.table for cell in cells()}

    def methods(some):
        return {part.split(':')[0] for cell in some for part in cell.method.split('+')}

    assert methods(few) == methods(cells())
    assert any('yolo' in cell.config for cell in few)
    assert any('san15' in cell.config for cell in few)


IMPORTS = """
import sys
from importlib import import_module
import torch

def asked():
    raise AssertionError('the CUDA runtime was asked')

torch._C._cuda_getDeviceCount = torch.cuda._lazy_init = asked
torch.cuda._device_count_nvml = lambda: 1
for name in sys.argv[1:]:
    import_module(name)
print(torch.cuda.is_available())
"""


def test_imports_leave_cuda_to_the_processes_that_are_forked(tmp_path, monkeypatch):
    """A process cannot use CUDA if the one that it was forked from has asked the CUDA runtime."""
    monkeypatch.setenv('PYTORCH_NVML_BASED_CUDA_CHECK', '0')  # which the pool changes
    smoke._Pool(tmp_path, {}, 1, lambda *_: None, frozenset())
    command = [sys.executable, '-c', IMPORTS, *smoke.PRELOADED]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[-1] == 'True'


def test_rows_are_written_as_a_whole(tmp_path):
    assert read_row(tmp_path) == {}
    (tmp_path / 'smoke.json').write_text('{"state": "do')  # of a process that was killed
    assert read_row(tmp_path) == {}
    write_row(tmp_path, dict(state='done', value=math.inf))
    assert read_row(tmp_path)['state'] == 'done'
    assert json.loads((tmp_path / 'smoke.json').read_text())['state'] == 'done'
    assert [path.name for path in tmp_path.iterdir()] == ['smoke.json']
