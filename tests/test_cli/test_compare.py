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
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from PIL import Image
from toy_classifier import make_classifier

from mmdet_ols.cli import compare as tool
from mmdet_ols.datasets.demo_voc import make_demo_voc
from mmdet_ols.experiments.executors.local import LocalExecutor
from mmdet_ols.experiments.experiment import Experiment
from mmdet_ols.experiments.specification import Request, read_variants
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


@HOOKS.register_module()
class MeasuresInTests(Hook):
    def after_test_epoch(self, runner, metrics=None):
        pass


@HOOKS.register_module()
class MeasuresInBoth(MeasuresInTests):
    def after_val_epoch(self, runner, metrics=None):
        pass


@HOOKS.register_module()
class MeasuresInSomeValidations(MeasuresInBoth):
    def __init__(self, interval=0):
        self.interval = interval

    def get_triggered_stages(self):
        stages = super().get_triggered_stages()
        return stages if self.interval else ['after_test_epoch']


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


OLS = """
_base_ = 'ce.py'
custom_imports = dict(imports=['mmdet_ols'])
model = dict(head=dict(loss=dict(type='OLSLoss', num_classes=6)))
default_hooks = dict(ols=dict(type='OLSHook'))
"""


@pytest.fixture(scope='module')
def classifiers(tmp_path_factory):
    """Two configs for MMPretrain: cross entropy and OLS."""
    folder = tmp_path_factory.mktemp('classifiers')
    make_classifier(folder)
    (folder / 'ols.py').write_text(OLS)
    return folder / 'ce.py', folder / 'ols.py'


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


def variants(*asked, **kwargs):
    rows = [Request(name, path, None, tuple(options)) for name, path, options in asked]
    return read_variants(rows, **kwargs)


def experiment(work_dir, *asked, **kwargs):
    return Experiment(variants(*asked), [0, 1], work_dir, **kwargs)


def test_a_run_is_trained_resumed_and_tested_with_the_options_asked_for(classifiers, tmp_path):
    ce, ols = map(str, classifiers)
    options = ['train_cfg.max_epochs=4']
    rows = variants(('ce', ce, options), ('mine', ols, options), amp=True)
    ours = Experiment(rows, [0, 1], tmp_path, tta=True, trust=True)
    assert [ours.label(folder) for folder in ours.folders] == [
        'ce seed 0', 'mine seed 0', 'ce seed 1', 'mine seed 1',
    ]  # fmt: skip
    folder = ours.folders[3]
    assert folder == tmp_path / 'mine' / 'seed_1'
    end = ['--trust-checkpoint', '--cfg-options', 'train_cfg.max_epochs=4', 'randomness.seed=1']
    python = [sys.executable, '-m']
    train = [*python, 'mmdet_ols.cli.train', ols, '--work-dir', str(folder), '--amp']
    assert ours.tasks[folder].next_command() == [*train, *end]
    folder.mkdir(parents=True)
    (folder / 'last_checkpoint').write_text('epoch_3.pth')
    assert ours.tasks[folder].next_command() == [*train, *end]  # the pointer is all that is left
    (folder / 'epoch_3.pth').touch()
    assert ours.tasks[folder].next_command() == [*train, '--resume', *end]
    (folder / 'last_checkpoint').write_text('epoch_4.pth')
    (folder / 'epoch_4.pth').touch()
    assert ours.tasks[folder].next_command() == [
        *python, 'mmdet_ols.cli.test', ols, str(folder / 'epoch_4.pth'),
        '--work-dir', str(folder / 'test_tta'), '--tta', *end,
    ]  # fmt: skip


@pytest.mark.parametrize('newest', ['epoch_3.pth', None])
def test_another_epoch_than_the_last_is_not_tested(classifiers, tmp_path, newest):
    ours = experiment(
        tmp_path, ('ce', str(classifiers[0]), ['train_cfg.max_epochs=4']), tta=True
    )  # fmt: skip
    folder = ours.folders[0]
    scalars = folder / '20260101_000000' / 'vis_data' / '20260101_000000.json'
    scalars.parent.mkdir(parents=True)
    trained, validated = {'epoch': 4, 'iter': 8, 'step': 8}, {'accuracy/top1': 50.0, 'step': 4}
    scalars.write_text(f'{json.dumps(trained)}\n{json.dumps(validated)}\n')
    if newest:
        (folder / newest).touch()
        (folder / 'last_checkpoint').write_text(newest)
    with pytest.raises(ValueError, match=rf'\(4\) .*: {str(newest).lower()}\. .*save_last'):
        ours.tasks[folder].next_command()


def test_what_may_differ_between_methods_may_not_differ_from_what_a_run_was_made_with(
    classifiers, tmp_path
):
    asked = [(path.stem, str(path), ['optim_wrapper.optimizer.lr=0.1']) for path in classifiers]
    before = experiment(tmp_path, *asked)
    start = before.folders[0] / '20260101_000000' / 'vis_data'
    start.mkdir(parents=True)
    (start / '20260101_000000.json').write_text(json.dumps({'epoch': 1, 'iter': 1, 'step': 1}))
    cfg = before.variants[0].cfg
    cfg.merge_from_dict({'randomness.seed': 0})
    cfg.dump(start / 'config.py')
    before.check()
    asked[0][2][0] = 'optim_wrapper.optimizer.lr=0.2'
    after = experiment(tmp_path, *asked, allowed=['optim_wrapper'])
    with pytest.raises(ValueError, match=r'lr: 0\.1 \(made with\), 0\.2 \(asked for\)'):
        after.check()


@pytest.mark.parametrize(
    ('options', 'shown'),
    [
        ([], True),
        (['train_dataloader.num_workers=0', 'val_dataloader.dataset.data_root=elsewhere'], True),
        (['train_dataloader.num_workers=0', 'train_cfg.max_epochs=3'], False),
    ],
)
def test_the_papers_figure_is_of_the_papers_config(tmp_path, options, shown):
    (tmp_path / 'paper.py').write_text(f'_base_ = {str(ROOT / "configs/yolo_hard_voc.py")!r}\n')
    (row,) = variants(('paper', str(tmp_path / 'paper.py'), options))
    assert bool(row.paper_figures) == shown
    ours = Experiment([row], [0], tmp_path)
    figure = dict(table='X', metric='pascal_voc/mAP', value=81.6)
    assert ours.comparison({}).paper == ({'paper': [figure]} if shown else {})


@pytest.mark.parametrize(
    ('hook', 'needed'),
    [
        ('EMAHook', False),
        ('MeasuresInTests', True),
        ('MeasuresInBoth', False),
        ('MeasuresInSomeValidations', True),
        ('MeasuresInSomeValidations default_hooks.ols.interval=1', False),
    ],
)
def test_a_hook_that_measures_in_tests_alone_makes_a_test_necessary(classifiers, hook, needed):
    options = f'default_hooks.ols.type={hook}'.split()
    (row,) = variants(('ols', str(classifiers[1]), options))
    assert row.validates_on_the_test_set and row.validates_as_it_tests != needed


def test_each_start_of_a_run_is_recorded(classifiers, tmp_path):
    ours = experiment(tmp_path, ('ce', str(classifiers[0]), []))
    folder = ours.folders[1]
    folder.mkdir(parents=True)
    ours.record(folder, {'machine': 'α'})
    ours.record(folder, {'machine': 'b'})
    path = folder / 'compare.jsonl'
    path.write_text(path.read_text() + '{"machine": "cut sh')
    assert ours.comparison({}).made == {
        ('ce', 0): [], ('ce', 1): [{'machine': 'α'}, {'machine': 'b'}],
    }  # fmt: skip


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


def test_nothing_starts_if_the_result_could_not_be_written(one_run, monkeypatch):
    monkeypatch.setattr(LocalExecutor, 'run', None)
    monkeypatch.setitem(sys.modules, 'matplotlib.figure', None)
    with pytest.raises(SystemExit, match='plot'):
        tool.main()


@pytest.mark.parametrize(
    ('asked', 'message'),
    [
        ([('ce', 'ce.py', []), ('ce', 'ols.py', [])], 'ce comes twice: ask for it once'),
        ([('a/b', 'ce.py', [])], "names its folder.*'a/b'"),
        ([('ce', 'ce.py', ['lr'])], "KEY=VALUE, but got 'lr'"),
        ([('ce', 'ce.py', ['randomness.seed=3'])], '--seeds'),
        ([('ce', 'ce.py', ['train_cfg=None'])], 'max_epochs or max_iters'),
        ([('ce', 'ce.py', []), ('slow', 'ols.py', ['optim_wrapper.optimizer.lr=0.1'])],
         r'slow cannot be compared with ce(?s:.*)lr: 0\.01 \(ce\), 0\.1 \(slow\)'),
        ([('ols', 'ols.py', ['model.head.loss.alhpa=0.3'])],
         'ols: the model cannot be built: .*alhpa'),
        ([('ce', 'ce.py', []), ('ols', 'ols.py', ['model.head.loss.num_classes=7'])],
         'ols: `num_classes` of OLSLoss'),
        ([('ce', 'ce.py', ['train_dataloader.dataset.data_root=/nowhere'])], 'ce: .*/nowhere'),
        ([('ce', 'ce.py', ['model.head.num_classes=10', *(
            f'{split}_dataloader.dataset.{entry}' for split in ('train', 'val', 'test')
            for entry in ('type=CIFAR10', 'download=False'))])],
         'ce: train_dataloader, CIFAR10, which downloads its data to .*network'),
        ([('ols', 'ols.py', ['default_hooks.ols.type=MissingHook'])], "as 'MissingHook'"),
        ([('ce', 'ce.py', ['visualizer.vis_backends.0.type=TensorboardVisBackend'])],
         'ce: .*LocalVisBackend'),
        ([('ce', 'ce.py', ['default_hooks.checkpoint.out_dir=/shared'])],
         "ce: default_hooks.checkpoint.out_dir .* but got '/shared'"),
    ],
)  # fmt: skip
def test_what_would_cost_hours_is_found_before_the_first_run(classifiers, tmp_path, asked, message):
    folder = classifiers[0].parent
    asked = [(name, str(folder / path), options) for name, path, options in asked]
    with pytest.raises(ValueError, match=message):
        experiment(tmp_path, *asked).check()
