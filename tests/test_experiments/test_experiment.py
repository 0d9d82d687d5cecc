"""What an experiment runs, what it refuses, and what it keeps."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS
from toy_classifier import make_classifiers

from mmdet_ols.experiments.experiment import Experiment
from mmdet_ols.experiments.specification import Request, read_variants

ROOT = Path(__file__).parents[2]


@HOOKS.register_module()
class MeasuresInTests(Hook):
    def after_test_epoch(self, runner, metrics=None):
        pass


@HOOKS.register_module()
class SavesElsewhere(CheckpointHook):
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
def classifiers(tmp_path_factory):
    return make_classifiers(tmp_path_factory.mktemp('classifiers'))


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
        ([('ce', 'ce.py', ['visualizer.vis_backends=None'])], 'ce: .*LocalVisBackend'),
        ([('ce', 'ce.py', ['default_hooks.checkpoint.out_dir=/shared'])],
         "ce: default_hooks.checkpoint.out_dir .* but got '/shared'"),
        ([('ce', 'ce.py', ['default_hooks.stop.type=EarlyStoppingHook',
                           'default_hooks.stop.monitor=accuracy/top1'])],
         'ce: default_hooks.stop must not be an EarlyStoppingHook where runs are compared'),
        ([('ce', 'ce.py', ['resume=True', 'load_from=a.pth'])], 'ce: .* go on from a.pth, as'),
    ],
)  # fmt: skip
def test_what_would_cost_hours_is_found_before_the_first_run(classifiers, tmp_path, asked, message):
    folder = classifiers[0].parent
    asked = [(name, str(folder / path), options) for name, path, options in asked]
    with pytest.raises(ValueError, match=message):
        experiment(tmp_path, *asked).check()


def test_a_test_that_cannot_be_augmented_is_found_before_the_training(classifiers, tmp_path):
    asked = ('a', str(classifiers[0]), ['tta_model.type=Unknown'])
    experiment(tmp_path, asked).check()
    with pytest.raises(ValueError, match='a: the model cannot be built: .*Unknown'):
        experiment(tmp_path, asked, tta=True).check()


def test_a_second_hook_may_not_save_where_runs_overwrite_each_other(classifiers, tmp_path):
    config = tmp_path / 'twice.py'
    config.write_text(
        f'_base_ = {str(classifiers[0])!r}\n'
        "custom_hooks = [dict(type='SavesElsewhere', out_dir='/shared')]\n"
    )
    with pytest.raises(ValueError, match="twice: custom_hooks.0.out_dir .* got '/shared'"):
        experiment(tmp_path, ('twice', str(config), [])).check()
