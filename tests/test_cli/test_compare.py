"""`tools/compare.py` as a user runs it: small, interrupted, resumed, and with a failure."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toy_classifier import make_classifiers

from mmdet_ols.cli import compare as tool
from mmdet_ols.datasets.demo_voc import make_demo_voc
from mmdet_ols.experiments.executors.local import LocalExecutor
from mmdet_ols.experiments.experiment import Experiment
from mmdet_ols.experiments.states import LOG

ROOT = Path(__file__).parents[2]
DEMO = 'configs/yolo_ols_demo.py'
ALPHA = 'model.bbox_head.loss_cls.alpha'


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, 'tools/compare.py', *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process, status=0):
    try:
        output = process.communicate()[0]
    finally:  # a test that ran out of time leaves nothing running
        process.terminate()
    assert process.returncode == status, output[-6000:]
    return output


def rows(work_dir):
    with (work_dir / 'comparison.csv').open() as file:
        return list(csv.DictReader(file))


def starts(run):
    return len(re.findall(r'^\$ ', (run / LOG).read_text(), re.M))


@pytest.fixture(scope='module')
def demo_options(tmp_path_factory):
    """Few small images; every detection counts, since scores are still low after two epochs."""
    root = tmp_path_factory.mktemp('data') / 'demo'
    make_demo_voc(
        root, num_images={'VOC2007/trainval': 8, 'VOC2012/trainval': 4, 'VOC2007/test': 4}
    )
    loaders = [f'{split}_dataloader' for split in ('train', 'val', 'test')]
    return [
        *(f'{loader}.num_workers=0' for loader in loaders),
        *(f'{loader}.persistent_workers=False' for loader in loaders),
        *(f'train_dataloader.dataset.datasets.{index}.data_root={root}' for index in (0, 1)),
        *(f'{loader}.dataset.data_root={root}' for loader in loaders[1:]),
        'train_dataloader.batch_size=4', 'train_cfg.max_epochs=2', 'train_cfg.val_interval=1',
        'model.test_cfg.conf_thr=-1', 'model.test_cfg.score_thr=0.0',
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(1800)  # many processes, which busy machines start slowly
def test_interrupted_and_given_again_it_ends_with_the_table(
    demo_options, tmp_path, monkeypatch, command
):
    monkeypatch.chdir(ROOT)
    words = (
        DEMO, '--variant', 'hard', DEMO, f'{ALPHA}=1.0', '--seeds', 0, 1, '--jobs', 2,
        '--work-dir', tmp_path, '--cfg-options', *demo_options,
    )  # fmt: skip
    first = tmp_path / 'yolo_ols_demo' / 'seed_0'
    process = start(*words)
    while not (first / 'last_checkpoint').exists() and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)  # SIGINT is ignored where the tests run in the background
    assert 'The same command goes on' in finish(process, 130)
    assert not (tmp_path / 'comparison.md').exists()

    output = finish(start(*words))
    assert re.search(r'yolo_ols_demo seed 0 started: .*-m mmdet_ols\.cli\.train .*--resume', output)
    assert re.search(r'hard seed 1 finished: mAP [\d.]+ in .* left', output)
    assert starts(first) == 2 and starts(tmp_path / 'hard' / 'seed_1') == 1
    table = rows(tmp_path)
    assert [(row['config'], row['seed'], row['state'], row['done']) for row in table] == [
        (name, seed, 'finished', '2') for name in ('yolo_ols_demo', 'hard') for seed in '01'
    ]
    for row in table:
        log = (tmp_path / row['config'] / f'seed_{row["seed"]}' / LOG).read_text()
        printed = re.findall(r'Epoch\(val\) \[2\].* pascal_voc/mAP: ([\d.]+)', log)[-1]
        assert float(row['pascal_voc/mAP']) == pytest.approx(float(printed), abs=5e-5)
    text = (tmp_path / 'comparison.md').read_text()
    assert f'`{ALPHA}`: ' in text and '| fox |' in text and 'compare.py configs/yolo' in text
    assert np.asarray(Image.open(tmp_path / 'comparison.png')).std() > 10

    before = (first / LOG).read_text()
    output = command(tool.main, *words)
    assert '4 of 4 runs are finished and kept' in output and 'started' not in output
    assert (first / LOG).read_text() == before


@pytest.fixture(scope='module')
def classifiers(tmp_path_factory):
    return make_classifiers(tmp_path_factory.mktemp('classifiers'))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_methods_with_test_time_augmentation_and_a_run_that_fails(classifiers, tmp_path, command):
    ce, _ = classifiers
    broken = ('broken', ce, 'model.head.loss.type=LabelSmoothLoss',
              'model.head.loss.label_smooth_val=0.1', 'model.head.loss.num_classes=9')  # fmt: skip
    output = command(
        tool.main, ce, '--methods', 'hard', 'ols', '--variant', *broken, '--seeds', 3, '--tta',
        '--jobs', 2, '--work-dir', tmp_path, ok=False,
    )  # fmt: skip
    assert re.search(r'broken seed 3 failed: exit status 1\n(?s:.*)Error', output)
    assert '1 of 3 runs failed' in output and 'FAILED, so not in the tables: broken' in output
    table = rows(tmp_path)
    assert [(row['config'], row['state']) for row in table] == [
        ('hard', 'finished'), ('ols', 'finished'), ('broken', 'failed'),
    ]  # fmt: skip
    for row in table[:2]:
        run = tmp_path / row['config'] / 'seed_3'
        commands, tested = (run / LOG).read_text().rpartition('mmdet_ols.cli.test')[::2]
        assert commands.count(f'--method {row["config"]}') >= 1 and '--tta' in tested
        top1, top5 = re.findall(r'Epoch\(test\).*top1: ([\d.]+) .*top5: ([\d.]+)', tested)[-1]
        assert float(row['accuracy/top1']) == pytest.approx(float(top1), abs=5e-5)
        errors = re.findall(rf'\| (top-. error).* \| {row["config"]} \| ([\d.]+) \|',
                            (tmp_path / 'comparison.md').read_text())  # fmt: skip
        assert errors == [
            ('top-1 error', f'{100 - float(top1):.2f}'),
            ('top-5 error', f'{100 - float(top5):.2f}'),
        ]


@pytest.fixture
def one_run(classifiers, tmp_path, monkeypatch):
    """A command line that compares one config, which is not really run."""
    words = ['compare.py', str(classifiers[0]), '--seeds', '0', '--work-dir', str(tmp_path)]
    monkeypatch.setattr(sys, 'argv', words)
    return words


def test_an_interrupt_of_the_checks_ends_shortly(one_run, monkeypatch, capsys):
    def check(self, strict):
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Experiment, 'check', check)
    with pytest.raises(SystemExit) as end:
        tool.main()
    assert end.value.code == 130 and 'The same command goes on' in capsys.readouterr().err


def test_what_cannot_be_written_stops_no_run(one_run, tmp_path, monkeypatch, capsys):
    def run(executor, tasks, report):
        folder = tasks[0].folder
        report('started', folder, '')  # which is not there
        folder.mkdir(parents=True)
        report('started', folder, '')
        report('finished', folder, '')
        return {}

    def write_comparison(*_):
        raise OSError('the disk is full')

    monkeypatch.setattr(LocalExecutor, 'run', run)
    monkeypatch.setattr(tool, 'write_comparison', write_comparison)
    tool.main()
    output = capsys.readouterr().out
    assert 'warning: [Errno 2]' in output and 'warning: the disk is full' in output
    (start,) = (tmp_path / 'ce' / 'seed_0' / 'compare.jsonl').read_text().splitlines()
    made = json.loads(start)
    assert made['command'].startswith('`python compare.py') and made['runs at once'] == '1'
    assert {'machine', 'versions', 'date'} <= set(made)


def test_the_command_is_recorded_with_the_variables_that_the_configs_read(
    classifiers, tmp_path, monkeypatch
):
    paths = []
    for name, variable in (('a', 'EPOCHS'), ('b', 'BATCHES')):
        text = f"_base_ = {str(classifiers[0])!r}\nnumber = int('{{{{${variable}:1}}}}')\n"
        paths.append(tmp_path / f'{name}.py')
        paths[-1].write_text(text)
    monkeypatch.setenv('EPOCHS', '3')
    monkeypatch.setenv('OTHER', '4')
    words = ['compare.py', *map(str, paths), '--seeds', '0', '--work-dir', str(tmp_path)]
    monkeypatch.setattr(sys, 'argv', words)

    def run(executor, tasks, report):
        tasks[0].folder.mkdir(parents=True)
        report('started', tasks[0].folder, '')
        return {}

    monkeypatch.setattr(LocalExecutor, 'run', run)
    tool.main()
    made = json.loads((tmp_path / 'a' / 'seed_0' / 'compare.jsonl').read_text())
    assert made['command'].startswith('`EPOCHS=3 python compare.py')


def test_an_option_that_is_given_again_adds_to_the_first(monkeypatch):
    words = [DEMO, '--methods', 'hard', '--methods', 'ls', 'ols', '--seeds', '3', '--seeds', '4']
    monkeypatch.setattr(sys, 'argv', ['compare.py', *words, '--allow', 'a', '--allow', 'b'])
    args = tool.parse_args()
    assert args.methods == ['hard', 'ls', 'ols']
    assert (args.seeds, args.allow) == ([3, 4], ['a', 'b'])
    monkeypatch.setattr(sys, 'argv', ['compare.py', DEMO])
    assert tool.parse_args().seeds == [0, 1, 2]


def test_a_config_that_was_taken_for_a_method_is_missed(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['compare.py', '--methods', 'hard', 'ols', DEMO])
    with pytest.raises(SystemExit):
        tool.parse_args()
    assert 'name at least one CONFIG, in front of the options' in capsys.readouterr().err


@pytest.mark.parametrize('seed', [-1, 2**32])
def test_a_seed_that_no_run_could_take_is_refused(seed, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['compare.py', DEMO, '--seeds', '0', str(seed)])
    with pytest.raises(SystemExit):
        tool.parse_args()
    assert '--seeds must be from 0 to 4294967295' in capsys.readouterr().err


def test_nothing_starts_if_the_result_could_not_be_written(one_run, monkeypatch):
    monkeypatch.setattr(LocalExecutor, 'run', None)
    monkeypatch.setitem(sys.modules, 'matplotlib.figure', None)
    with pytest.raises(SystemExit, match='plot'):
        tool.main()
