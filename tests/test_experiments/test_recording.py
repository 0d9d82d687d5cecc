"""Runs that become rows of a file, and rows that count as runs."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import toy_plan
from toy_runs import checkpoint, make_start

from mmdet_ols.cli import compare as tool
from mmdet_ols.experiments.evidence import EvidenceFile, read_rows
from mmdet_ols.experiments.experiment import Experiment
from mmdet_ols.experiments.provenance import machine, versions
from mmdet_ols.experiments.specification import Request, read_variants
from mmdet_ols.experiments.starter import starting
from mmdet_ols.experiments.writing import to_markdown, write_comparison

CONFIG = toy_plan.CONFIG.replace('max_epochs=2', 'max_epochs=3')
VERSIONS = 'Python 3.11, torch 2.11.0+cpu, mmcv 2, mmdet_ols 0.1.0 (git {})'
TOP1 = 'accuracy/top1'


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'six.py'
    path.write_text(CONFIG)
    return path


def experiment(config, work_dir, seeds=(0, 1), **kwargs):
    options = ('optim_wrapper.optimizer.lr=1',)
    requests = [Request(method, str(config), method, options) for method in ('hard', 'ols')]
    variants = read_variants(requests, data_root=kwargs.pop('data_root', None))
    file = EvidenceFile(config.parent / 'rows.csv')
    return Experiment(variants, seeds, work_dir, evidence=file, **kwargs)


def train(ours, folder, *top1, stamp='20260101_000000', end='2026/01/01 00:01:00'):
    """What a run leaves that reached this accuracy after each epoch."""
    lines = [
        line
        for epoch, value in enumerate(top1, 1)
        for line in (
            {'loss': 1.0, 'epoch': epoch, 'iter': epoch, 'step': epoch},
            {TOP1: value, 'accuracy/top5': value + 10, 'step': epoch},
        )
    ]
    variant, spec = ours.runs[folder]
    cfg = variant.cfg.copy()
    cfg.randomness = dict(cfg.get('randomness') or {}, seed=spec.seed)
    make_start(folder, stamp, lines, end, cfg=cfg)
    checkpoint(folder, f'epoch_{len(top1)}.pth')


def record(folder, **facts):
    with (folder / 'compare.jsonl').open('a') as file:
        file.write(json.dumps(facts) + '\n')


def test_a_finished_run_becomes_a_row(config, tmp_path):
    ours = experiment(config, tmp_path / 'runs')
    first, unfinished = ours.folders[1], ours.folders[0]
    train(ours, first, 50.0, 70.0, 60.0)
    record(first, machine='a', versions=VERSIONS.format('1234567'), date='2026-01-01')
    record(first, machine='a', versions=VERSIONS.format('89abcde-dirty'), date='2026-01-02')
    train(ours, unfinished, 50.0)
    for folder in ours.folders:
        assert ours.keep(folder) == ''
    (row,) = ours.evidence.rows()
    assert (row.name, row.method, row.seed, row.test) == ('ols', 'ols', 0, 'plain')
    assert (row.config, row.options) == ('six.py', 'optim_wrapper.optimizer.lr=1')
    assert (row.length, row.seconds, row.date) == ('3 epochs', 60, '2026-01-02')
    assert (row.commit, row.machine) == ('1234567 + 89abcde-dirty', 'a')
    assert row.torch == '2.11.0+cpu'
    assert row.metrics == {TOP1: 60.0, 'accuracy/top5': 70.0}
    assert (row.best_by, row.best_epoch) == (TOP1, 2)
    assert row.best == {TOP1: 70.0, 'accuracy/top5': 80.0}
    variants = ours.variants
    assert row.settings == variants[1].portable_key != variants[0].portable_key
    assert row.base == variants[0].portable_base == variants[1].portable_base


def test_other_results_in_the_folder_are_told(config, tmp_path):
    ours = experiment(config, tmp_path / 'runs')
    train(ours, ours.folders[0], 50.0, 70.0, 60.0)
    assert ours.keep(ours.folders[0]) == ours.keep(ours.folders[0]) == ''
    other = experiment(config, tmp_path / 'again')
    train(other, other.folders[0], 50.0, 70.0, 61.0)
    assert 'hard seed 0 has other results' in other.keep(other.folders[0])
    assert [row.metrics[TOP1] for row in other.evidence.rows()] == [60.0]
    assert other.comparison({}).values('hard', other.comparison({}).metrics[0]) == {0: 39.0}


def test_a_row_counts_as_a_run_wherever_it_was_made(config, tmp_path):
    ours = experiment(config, tmp_path / 'runs', data_root='/here/six')
    for folder, end in zip(ours.folders, (60.0, 64.0, 62.0)):
        train(ours, folder, 50.0, 70.0, end)
        ours.keep(folder)
    there = experiment(config, tmp_path / 'there', data_root='/there/six')
    assert [bool(there.read(folder).final) for folder in there.folders] == [True] * 3 + [False]
    comparison = there.comparison({})
    top1 = comparison.metrics[0]
    assert comparison.values('hard', top1) == {0: 40.0, 1: 38.0}
    assert comparison.values('ols', top1) == {0: 36.0}
    assert comparison.best_values('hard', top1) == {0: 30.0, 1: 30.0}
    assert comparison.curve('hard', top1) == {} and comparison.shows_best
    text = to_markdown(comparison, {})
    assert 'Read from rows of a file, so without curves: hard seed 0' in text
    assert '| read from | ' in text
    write_comparison(comparison, tmp_path / 'written', {})
    assert not (tmp_path / 'written' / 'comparison_curves.csv').exists()
    # Other options, another data set, another test: other runs.
    for changed in (
        experiment(config, tmp_path / 'tta', data_root='/there/six', tta=True),
        experiment(config, tmp_path / 'seven', data_root='/there/seven'),
        experiment(config, tmp_path / 'seeds', seeds=(2,), data_root='/there/six'),
    ):
        assert changed.open_tasks == list(changed.tasks.values())


@pytest.mark.parametrize(
    ('key', 'pair'),
    [
        ('load_from', ('/a/epoch_9.pth', '/b/epoch_9.pth')),
        ('train_dataloader.dataset.data_root', ('/a/train', '/b/train')),
    ],
)
def test_rows_whose_runs_would_count_for_each_other_are_refused(config, tmp_path, key, pair):
    names = 'first', 'second'
    options = [(f'{key}={value}', 'train_dataloader.num_workers=0') for value in pair]
    rows = [Request(n, str(config), None, own) for n, own in zip(names, options)]
    file = EvidenceFile(tmp_path / 'rows.csv')
    variants = read_variants(rows)
    Experiment(variants, [0], tmp_path, allowed=[key])
    with pytest.raises(ValueError, match=f'--record cannot tell second from first(?s:.*){key}: .*'):
        Experiment(variants, [0], tmp_path, allowed=[key], evidence=file)
    # The same run under two names is one run.
    same = [Request(n, str(config), m, ()) for n, m in zip(names, ('ols', 'ols:alpha=0.5'))]
    Experiment(read_variants(same), [0], tmp_path, evidence=file)


def test_what_is_finished_needs_no_data(config, tmp_path):
    ours = experiment(config, tmp_path / 'runs', seeds=(0,))
    for folder in ours.folders:
        train(ours, folder, 50.0, 70.0, 60.0)
        ours.keep(folder)
    ours.check()
    experiment(config, tmp_path / 'there', seeds=(0,)).check()
    with pytest.raises(ValueError, match='six'):
        experiment(config, tmp_path / 'there', seeds=(0, 1)).check()


def test_the_command_records_what_was_finished_before(config, tmp_path, monkeypatch, capsys):
    (request,) = [Request('hard', str(config), 'hard', ())]
    (variant,) = read_variants([request])
    before = Experiment([variant], [0], tmp_path / 'runs')
    train(before, before.folders[0], 50.0, 70.0, 60.0)
    monkeypatch.setattr(Experiment, 'check', lambda self, strict: None)
    path = tmp_path / 'new' / 'rows.csv'
    words = ['compare.py', str(config), '--methods', 'hard', '--seeds', '0', '--record', str(path)]
    for work_dir in ('runs', 'elsewhere'):  # the second one reads the row
        monkeypatch.setattr(sys, 'argv', [*words, '--work-dir', str(tmp_path / work_dir)])
        tool.main()
        assert '1 of 1 runs are finished and kept' in capsys.readouterr().out
        assert (tmp_path / work_dir / 'comparison.md').is_file()
    (row,) = read_rows(path)
    assert row.metrics[TOP1] == 60.0


def test_a_command_that_only_watches_records_as_well(config, tmp_path, monkeypatch, capsys):
    variants = read_variants([Request('hard', str(config), 'hard', ())])
    of_another = Experiment(variants, [0], tmp_path / 'runs')

    def watch(*_):
        train(of_another, of_another.folders[0], 50.0, 70.0, 60.0)
        return {}

    monkeypatch.setattr(Experiment, 'check', lambda self, strict: None)
    monkeypatch.setattr('mmdet_ols.cli.execution.watch', watch)
    words = ['compare.py', str(config), '--methods', 'hard', '--seeds', '0']
    words += ['--work-dir', str(tmp_path / 'runs'), '--record', str(tmp_path / 'rows.csv')]
    monkeypatch.setattr(sys, 'argv', words)
    with starting(tmp_path / 'runs', ['another']):
        tool.main()
    assert 'Only watching' in capsys.readouterr().out
    (row,) = read_rows(tmp_path / 'rows.csv')
    assert row.metrics[TOP1] == 60.0


def test_a_file_of_something_else_is_refused_before_the_first_run(config, tmp_path, monkeypatch):
    (tmp_path / 'rows.csv').write_text('a,b\n1,2\n')
    words = ['compare.py', str(config), '--record', str(tmp_path / 'rows.csv')]
    monkeypatch.setattr(sys, 'argv', words)
    with pytest.raises(SystemExit, match='error: .*rows.csv must have the columns'):
        tool.main()


def test_validations_between_two_lines_of_the_log_are_those_of_their_iterations(config, tmp_path):
    """MMEngine writes step 0 for them, and a line of training every 50 iterations."""
    loop = 'train_cfg = dict(by_epoch=False, max_iters=90, val_interval=40)'
    config.write_text(CONFIG.replace('train_cfg = dict(by_epoch=True, max_epochs=3)', loop))
    ours = experiment(config, tmp_path / 'runs', seeds=(0,))
    folder = ours.folders[0]
    lines = [{TOP1: 50.0, 'step': 0}, {'loss': 1.0, 'iter': 50, 'step': 50}]
    lines += [{TOP1: 70.0, 'step': 0}, {TOP1: 60.0, 'step': 0}]
    make_start(folder, '20260101_000000', lines)
    assert list(ours.read(folder).validations) == [40, 80, 90]
    assert ours.is_finished(folder) and ours.tasks[folder].next_command() is None


def test_the_machine_says_how_many_cores_a_run_uses(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(os, 'sched_getaffinity', lambda process: range(8))
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    assert machine().endswith(', 8 cores') and machine(jobs=3).endswith(', 2 of 8 cores')
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    assert machine().endswith(', 1 of 8 cores')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda index: 'GPU')
    assert machine().startswith('2 x GPU, ')
    monkeypatch.setattr(Path, 'read_text', lambda path: 'processor : 0\n')  # as on ARM
    monkeypatch.setattr(platform, 'machine', lambda: 'aarch64')
    assert machine() == '2 x GPU, aarch64, 1 of 8 cores'
    monkeypatch.setattr(os, 'sched_getaffinity', lambda process: {1})
    assert machine().endswith(', 1 core')


def test_the_commit_is_that_of_the_package_and_not_of_a_repository_around_it(tmp_path, monkeypatch):
    """As with an environment in the folder of a user's own project."""
    package = tmp_path / '.venv' / 'mmdet_ols' / '__init__.py'
    package.parent.mkdir(parents=True)
    package.touch()
    monkeypatch.setattr('mmdet_ols.__file__', str(package))
    assert 'git' not in versions()
    identity = ['-c', 'user.name=a', '-c', 'user.email=a@b.c']
    git = ['git', '-C', str(tmp_path), *identity]
    subprocess.run([*git, 'init', '-q'], check=True)
    subprocess.run([*git, 'commit', '-q', '--allow-empty', '-m', 'theirs'], check=True)
    assert 'git' not in versions()
    subprocess.run([*git, 'add', str(package)], check=True)
    subprocess.run([*git, 'commit', '-q', '-m', 'ours'], check=True)
    head = subprocess.run([*git, 'rev-parse', '--short', 'HEAD'], capture_output=True, text=True)
    assert f'(git {head.stdout.strip()})' in versions()
    package.write_text('changed')
    assert f'(git {head.stdout.strip()}-dirty)' in versions()
