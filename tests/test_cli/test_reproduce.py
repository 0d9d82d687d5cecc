"""The command that makes the paper's tables, on two cells of a few seconds."""

from __future__ import annotations

import csv
import json
import shutil

import pytest
from toy_classifier import make_classifier
from toy_plan import CONFIG, cell

from mmdet_ols.cli import execution
from mmdet_ols.cli import reproduce as tool
from mmdet_ols.experiments.specification import Request, read_variants
from mmdet_ols.experiments.starter import starting
from mmdet_ols.experiments.tasks import RunTask
from mmdet_ols.paper import Cell
from mmdet_ols.reproduction import request
from mmdet_ols.reproduction.scales import PlannedCell, figures_of
from mmdet_ols.reproduction.step_times import phases

#: Whose cells are planned.
TABLES = {'first': 'XI', 'second': 'VII'}


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    return make_classifier(tmp_path_factory.mktemp('greys'))


@pytest.fixture
def reproduce(config, command, monkeypatch):
    """Runs the tool, for which the cells of Table XI are hard labels and OLS on six greys."""

    def planned_cells(scale, tables=(), choices=None):
        papers = [
            Cell(table, 'cifar100/resnet56_ensembles_cifar100.py', method, ())
            for table in TABLES.values()
            for method in ('hard', 'ols')
        ]
        cells = [
            PlannedCell(paper, figures_of(paper), str(config), paper.method, (), False, 'greys')
            for paper in papers
        ]
        return [cell for cell in cells if not tables or cell.cell.table in tables]

    monkeypatch.setattr(request, 'planned_cells', planned_cells)
    return lambda *words, **kwargs: command(tool.main, *words, **kwargs)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_plan_is_run_each_run_once_and_kept(reproduce, tmp_path):
    where = '--work-dir', tmp_path
    planned = reproduce('plan', *where, '--seeds', 3)
    assert '4 cells need 2 runs, each once' in planned
    assert json.loads((tmp_path / 'request.json').read_text())['seeds'] == [3]
    output = reproduce('run', *where, '--jobs', 2)
    assert 'ce hard seed 3 finished: top-1 error' in output
    rows = (tmp_path / 'runs.csv').read_text().splitlines()
    assert len(rows) == 3 and (tmp_path / 'ce' / 'comparison.md').exists()
    status = reproduce('status', *where)
    assert status.count('│ all   │ 4     │ 2    │ 2        │') == 1
    # The page has the other tables as well, whatever was asked for last.
    reproduce('page', *where, '--table', 'VII')
    with (tmp_path / 'tables.csv').open() as file:
        done = {row['table'] for row in csv.DictReader(file) if row['state'] == 'done'}
    assert 'XI' in done

    # What was trained is drawn where a figure needs it; rows that were moved away come again.
    shutil.move(tmp_path / 'runs.csv', tmp_path / 'rows.csv')
    drawn = []

    class Executor:
        def run(self, tasks, report):
            for task in tasks:
                drawn.append(task)
                report('finished', task.folder, '')
            return {}

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TABLES, 'second', 'Fig. 3')
        patch.setattr(execution, 'executor_from', lambda *_: Executor())
        assert 'Fig. 3 finished' in reproduce('run', *where)
    again = (tmp_path / 'runs.csv').read_text().splitlines()
    assert again[0] == rows[0] and sorted(again) == sorted(rows)
    (task,) = drawn
    assert task.titles == ('Hard labels', 'OLS')
    assert [checkpoint.name for _, checkpoint in task.networks] == ['epoch_1.pth'] * 2

    # Rows of this folder count in another one; only the new seed is trained there.
    other = tmp_path / 'other'
    words = 'plan', '--work-dir', other, '--seeds', 3, 4, '--evidence', tmp_path / 'rows*.csv'
    assert '│ all   │ 4     │ 4    │ 2        │' in reproduce(*words)


def test_a_second_starter_watches(reproduce, tmp_path):
    reproduce('plan', '--work-dir', tmp_path, '--seeds', 0, '--table', 'XI')
    with starting(tmp_path, ['mmdet-ols', 'reproduce', 'run']):
        status = reproduce('status', '--work-dir', tmp_path)
    assert 'started by process' in status and 'mmdet-ols reproduce run' in status
    (tmp_path / 'slurm').mkdir()
    status = reproduce('status', '--work-dir', tmp_path)
    assert 'no process starts runs now; what was submitted to a cluster goes on' in status


def test_status_reads_each_folder_once(reproduce, tmp_path, monkeypatch):
    reproduce('plan', '--work-dir', tmp_path, '--seeds', 0, 1)
    folders, read = [], RunTask.read
    monkeypatch.setattr(RunTask, 'read', lambda task: folders.append(task.folder) or read(task))
    reproduce('status', '--work-dir', tmp_path)
    assert len(folders) == len(set(folders)) == 4


def test_what_is_missing_is_said_before_anything_starts(reproduce, config, tmp_path):
    words = '--work-dir', tmp_path, '--data', 'greys=/nowhere/at/all', '--seeds', 0
    for command in (('plan', '--check'), ('run',)):
        output = reproduce(*command, *words, ok=False)
        assert 'cannot be run: ce: hard: `data_root` of' in output and '/nowhere/at/all' in output
        assert '--data greys=FOLDER' in output and '--data-root' not in output
    assert not list(tmp_path.rglob('*.log')) and '1 of 1 configs cannot be run' in output
    assert 'the last check found' not in output  # it was checked just now
    status = reproduce('status', '--work-dir', tmp_path)
    assert 'cannot be run: ce' in status
    assert f'To check again: mmdet-ols reproduce plan --check --work-dir {tmp_path}' in status


def test_what_blocked_is_forgotten_once_something_else_is_asked_for(reproduce, tmp_path):
    words = 'plan', '--work-dir', tmp_path, '--seeds', 0
    reproduce(*words, '--data', 'greys=/nowhere/at/all', '--check', ok=False)
    assert 'cannot be run: ce' in reproduce(*words)
    assert 'cannot be run' not in reproduce(*words, '--data', f'greys={tmp_path}')
    assert 'cannot be run' not in reproduce('status', '--work-dir', tmp_path)


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--data', 'greys'], '--data takes NAME=VALUE, but got greys'),
        (['--data', 'cifar=/a'], '--data must name one of greys, but got cifar'),
        (['--set', 'ce'], '--set takes NAME KEY=VALUE [...], but got ce'),
        (['--set', 'ce', 'a'], 'KEY=VALUE, but got'),
        (['--seeds', '1', '1'], '--seeds must differ'),
        (['--seeds', '4294967296'], '--seeds must be from 0 to 4294967295'),
        (['--strict'], '--strict is about what --check finds: add --check'),
        (['--each-kind'], '--each-kind is for --scale smoke'),
        (['--scale', 'smoke', '--seeds', '1', '--set', 'ce', 'a=1'], 'leave --seeds, --set out'),
    ],
)
def test_what_cannot_be_used_is_an_error(reproduce, tmp_path, words, message):
    assert message in reproduce('plan', '--work-dir', tmp_path, *words, ok=False)


def test_a_plan_says_the_hours_of_the_device_whose_steps_were_measured(
    command, monkeypatch, tmp_path
):
    config, file = tmp_path / 'sized.py', tmp_path / 'steps.csv'
    config.write_text(CONFIG)
    monkeypatch.setattr(request, 'planned_cells', lambda *_: [cell(config, 'ols', data='cub')])
    (phase,) = phases(read_variants([Request('ols', str(config), 'ols')])[0])
    file.write_text(f'step,device,machine,threads,n,median_s\n{phase.kind},cpu,Z80,1,5,50\n')
    words = '--work-dir', tmp_path / 'runs', '--seeds', 0, 1, 2
    assert '3 not known' in command(tool.main, 'plan', *words)
    # 5,994 images, 2 epochs, 3 seeds, 50 s each: 499.5 hours.
    said = '500 hours of one Z80 core are for 3 runs that have not begun', 'testing are not in them'
    for words in (('plan', '--step-times', file), ('status',)):  # which is kept
        output = command(tool.main, *words, '--work-dir', tmp_path / 'runs')
        assert all(text in output for text in said) and '499 h 30 min' in output
    words = '--scale', 'small', '--forget', '--step-times', file, '--work-dir', tmp_path / 'runs'
    assert 'not small: leave' in command(tool.main, 'plan', *words, ok=False)


def test_what_cannot_be_used_is_not_remembered(reproduce, tmp_path):
    where = '--work-dir', tmp_path
    reproduce('plan', *where, '--seeds', 4)
    before = (tmp_path / 'request.json').read_text()
    for command in ('plan', 'run'):
        reproduce(command, *where, '--data', 'cifar=/a', ok=False)
        assert 'there is no nothing*.csv' in reproduce(
            command, *where, '--evidence', 'nothing*.csv', ok=False
        )
    assert (tmp_path / 'request.json').read_text() == before
    assert '4 cells need 2 runs' in reproduce('plan', *where)


def test_what_was_asked_for_before_can_be_forgotten(reproduce, tmp_path):
    where = '--work-dir', tmp_path
    reproduce('plan', *where, '--table', 'XI', '--seeds', 4)
    assert '2 cells need 2 runs' in reproduce('plan', *where)
    message = '--scale must be paper in {}, as it was asked for there before, but got small'
    output = reproduce('run', *where, '--scale', 'small', ok=False)
    assert message.format(tmp_path) in output and '--forget' in output
    assert '4 cells need 6 runs' in reproduce('plan', *where, '--scale', 'small', '--forget')
    assert json.loads((tmp_path / 'request.json').read_text())['scale'] == 'small'


def test_an_option_may_be_given_twice(reproduce, tmp_path):
    words = '--set ce model.head.topk=(1,) --set ce train_cfg.max_epochs=2 --seeds 4 --seeds 5'
    tables = '--table', 'XI', '--table', 'VII'
    assert '4 cells need 4 runs' in reproduce(
        'plan', '--work-dir', tmp_path, *words.split(), *tables
    )
    asked = json.loads((tmp_path / 'request.json').read_text())
    assert asked['entries'] == {'ce': ['model.head.topk=(1,)', 'train_cfg.max_epochs=2']}
    assert asked['seeds'] == [4, 5] and asked['tables'] == ['XI', 'VII']


@pytest.mark.parametrize('name', ['status', 'page'])
def test_a_folder_without_plan_has_neither_status_nor_page(reproduce, tmp_path, name):
    output = reproduce(name, '--work-dir', tmp_path / 'misspelt', ok=False)
    assert f'but {tmp_path}/misspelt is none: name that of `plan` or `run`' in output
    assert not (tmp_path / 'misspelt').exists()
    (tmp_path / 'file').write_text('')
    output = reproduce('plan', '--work-dir', tmp_path / 'file', ok=False)
    assert '--work-dir must be a folder' in output


@pytest.mark.parametrize(
    ('end', 'message'),
    [
        (None, '2 of 2 runs are not finished, and the process that started runs here has ended'),
        (KeyboardInterrupt, 'Stopped watching. The runs go on.'),
    ],
)
def test_who_watched_in_vain_is_told(reproduce, tmp_path, monkeypatch, end, message):
    def watch(tasks, is_finished, report, work_dir):
        if end is not None:
            raise end
        assert not any(is_finished(task.folder) for task in tasks)
        return {}

    monkeypatch.setattr(execution, 'watch', watch)
    with starting(tmp_path, ['mmdet-ols', 'reproduce', 'run']):
        output = reproduce('run', '--work-dir', tmp_path, '--seeds', 0, ok=False)
    assert 'Only watching' in output and message in output
