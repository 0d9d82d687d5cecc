"""The configs for MMPretrain: one for each network and data set, and every one of them trains."""

from __future__ import annotations

import gc
import json
import re
import runpy
import sys
from pathlib import Path

import made_image_configs
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import HOOKS, METRICS, MODELS, DefaultScope
from mmengine.runner import Runner
from mmpretrain.datasets import cifar
from PIL import Image

import mmdet_ols
from mmdet_ols.datasets.tree import leaf_datasets
from mmdet_ols.reproduction import made_data

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / 'configs'
SPLITS = ('val', 'test')
CLASSES = {
    'cifar10': 10,
    'cifar10_small': 10,
    'cifar10_folder': 10,
    'cifar10n': 10,
    'cifar10n_tuning': 10,
    'cifar100': 100,
    'cifar100_per_image': 100,
    'imagenet': 1000,
    'cub': 200,
    'flowers': 102,
    'flowers_1020': 102,
    'cars': 196,
    'cars_small': 196,
    'cars_small_tuning': 196,
    'aircraft': 90,
    'aircraft_100': 100,
}
#: Folder: its networks, each of which is there for each of its data sets, and those data sets.
GRID = {
    'cifar10': (['resnet29'], ['cifar10', 'cifar10_folder']),
    'cifar100': (
        [
            'resnet29', 'resnet34', 'resnet50', 'resnet56', 'resnet74', 'resnet101', 'resnet110',
            'resnext29_2x64d', 'resnext29_32x4d',
        ],
        ['cifar100'],
    ),
    'imagenet': (['resnet50', 'resnet101'], ['imagenet']),
    'fine_grained': (
        ['resnet50', 'mobilenetv2', 'efficientnet_b7', 'san15'],
        ['cub', 'flowers', 'flowers_1020', 'cars', 'aircraft', 'aircraft_100'],
    ),
}  # fmt: skip
CELLS = {
    f'{folder}/{network}_{data}.py': (network, data)
    for folder, (networks, data_sets) in GRID.items()
    for network in networks
    for data in data_sets
}
#: All that are shipped.
CONFIGS = sorted(
    str(path.relative_to(FOLDER))
    for path in FOLDER.rglob('*.py')
    if path.parent.name in GRID or (path.parent == FOLDER and path.name.startswith('resnet56_'))
)


def read(name):
    return Config.fromfile(mmdet_ols.config_path(name))


def data_of(name):
    """The longest name of a data set that the name of a config ends with."""
    stem = name.split('/')[-1].removesuffix('.py')
    return max((data for data in CLASSES if stem.endswith(f'_{data}')), key=len)


def test_every_network_is_there_for_its_data():
    assert set(CELLS) <= set(CONFIGS)
    assert all(name.endswith('_cifar100.py') for name in CONFIGS if '/' not in name)


@pytest.mark.parametrize(
    ('method', 'loss'),
    [
        ('ls', dict(type='LSLoss', num_classes=100, epsilon=0.1)),
        ('ols', dict(type='OLSLoss', num_classes=100, alpha=0.5)),
    ],
)
def test_a_method_differs_from_its_baseline_in_the_loss_alone(method, loss):
    changed, baseline = (
        read(f'resnet56_{name}_cifar100.py').to_dict() for name in (method, 'hard')
    )
    assert changed.pop('paper_cell')['method'] == method
    assert baseline.pop('paper_cell')['method'] == 'hard'
    assert changed['model']['head'].pop('loss') == loss
    assert baseline['model']['head'].pop('loss') == dict(type='CrossEntropyLoss', loss_weight=1.0)
    if method == 'ols':
        assert changed['default_hooks'].pop('ols') == dict(type='OLSHook')
    assert changed == baseline


@pytest.mark.parametrize('name', [name for name in CONFIGS if '/' in name])
def test_a_config_of_a_cell_has_hard_labels(name):
    assert read(name).model.head.loss == dict(type='CrossEntropyLoss', loss_weight=1.0)


@pytest.mark.parametrize('name', CONFIGS)
def test_all_data_of_a_config_lie_below_one_root(name):
    """So that one option can say where that is."""
    cfg = read(name)
    datasets = [
        dataset
        for split in ('train', 'val', 'test')
        for dataset in leaf_datasets(cfg[f'{split}_dataloader'].dataset)
    ]
    assert {dataset.data_root for dataset in datasets} == {cfg.data_root}
    for metric in cfg.test_evaluator:
        assert metric.get('human', cfg.data_root).startswith(cfg.data_root)


def test_half_of_the_side_is_cut_out_of_imagenets_images():
    steps = read('_base_/datasets/imagenet_cutout.py').train_dataloader.dataset.pipeline
    plain = read('_base_/datasets/imagenet.py').train_dataloader.dataset.pipeline
    assert steps[-2] == dict(type='CutOutSquare', size=112, fill=(103.53, 116.28, 123.675))
    assert [*steps[:-2], steps[-1]] == plain


@pytest.mark.parametrize(
    ('name', 'epochs', 'milestones', 'batch', 'optimizer'),
    [
        ('cifar100', 300, [150, 225], 128, dict(lr=0.1, weight_decay=5e-4, nesterov=True)),
        ('cifar10', 300, [150, 225], 128, dict(lr=0.1, weight_decay=5e-4, nesterov=True)),
        ('imagenet', 250, [75, 150, 225], 256, dict(lr=0.1, weight_decay=1e-4, nesterov=True)),
        ('fine_grained', 100, [45, 80], 64, dict(lr=0.01, weight_decay=1e-4)),
    ],
)
def test_recipes_are_the_papers(name, epochs, milestones, batch, optimizer):
    network, data = (names[0] for names in GRID[name])
    cfg = read(f'{name}/{network}_{data}.py')
    assert cfg.train_cfg.max_epochs == epochs and cfg.train_cfg.val_interval == 1
    steps = dict(type='MultiStepLR', by_epoch=True, milestones=milestones, gamma=0.1)
    assert cfg.param_scheduler == steps
    assert cfg.optim_wrapper.optimizer == dict(type='SGD', momentum=0.9, **optimizer)
    assert cfg.auto_scale_lr.base_batch_size == batch
    assert cfg.train_dataloader.batch_size == batch  # every run of a comparison is one process


@pytest.mark.parametrize('name', CONFIGS)
def test_head_loss_and_data_have_the_same_classes(name):
    cfg = read(name)
    classes = CLASSES[data_of(name)]
    assert cfg.model.head.num_classes == cfg.data_preprocessor.num_classes == classes
    assert cfg.model.head.loss.get('num_classes', classes) == classes
    if name in CELLS and not data_of(name).endswith(('_folder', '_1020', '_100')):
        network, data = CELLS[name]
        assert cfg.paper_cell == dict(data=data, network=network)


@pytest.mark.parametrize(
    'name',
    [
        f'{folder}/{network}_{data_sets[0]}.py'
        for folder, (networks, data_sets) in GRID.items()
        for network in networks
    ],
)
def test_every_network_is_a_classifier(name, monkeypatch):
    """Nothing is computed."""
    monkeypatch.setattr(torch.nn.init, 'kaiming_uniform_', lambda tensor, *args, **kwargs: tensor)
    side = 32 if name.startswith('cifar') else 224
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(read(name).model).eval().to('meta')
    scores = model(torch.empty(2, 3, side, side, device='meta'))
    assert scores.shape == (2, CLASSES[data_of(name)])


@pytest.mark.parametrize('name', CONFIGS)
def test_losses_hooks_and_metrics_can_be_built(name, human):
    cfg = read(name)
    for metric in cfg.test_evaluator:
        if 'human' in metric:
            assert metric.human == f'{cfg.data_root}/meta/cifar10h-probs.npy'
            metric.human = human
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        MODELS.build(cfg.model.head.loss)
        del cfg.default_hooks.visualization  # it needs a run
        for hook in [*cfg.get('custom_hooks', []), *cfg.default_hooks.values()]:
            HOOKS.build(hook)
        names = {type(METRICS.build(metric)).__name__ for metric in cfg.test_evaluator}
    assert names >= {'Accuracy', 'CalibrationError'}
    on_test_images = name.startswith('cifar10/') and not name.endswith('_tuning.py')
    assert ('CIFAR10HDivergence' in names) == on_test_images


@pytest.fixture(scope='module')
def human(tmp_path_factory):
    path = tmp_path_factory.mktemp('human') / 'human.npy'
    np.save(path, np.ones((10000, 10)))
    return str(path)


@pytest.mark.parametrize('name', [name for name in CONFIGS if 'noise' in name])
def test_a_config_with_label_noise_differs_in_that_alone(name):
    noise = re.search(r'_noise(\d+)', name)
    noisy, clean = (read(path).to_dict() for path in (name, name.replace(noise[0], '')))
    rate = int(noise[1]) / 100
    assert noisy['train_dataloader']['dataset']['dataset'].pop('rate') == rate
    assert clean['train_dataloader']['dataset']['dataset'].pop('rate') == 0
    assert noisy.pop('paper_cell', {}).get('noise_rate', rate) == rate
    clean.pop('paper_cell', None)
    assert noisy.pop('custom_hooks')[-1]['type'] == 'TrainErrorHook'
    clean.pop('custom_hooks', None)
    assert noisy == clean


def test_table_3s_checkpoints_are_kept_and_averaged():
    cfg = read('cifar100/resnet56_ensembles_cifar100.py')
    (hook,) = cfg.custom_hooks
    assert hook == dict(type='EnsembleHook', sizes=(1, 6, 10, 15, 20))
    interval = cfg.default_hooks.checkpoint.interval
    assert all(300 // size % interval == 0 for size in hook.sizes)
    assert cfg.default_hooks.checkpoint.max_keep_ckpts == -1


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Makes tiny data in the layout of a config."""
    monkeypatch.setattr(cifar, 'check_md5', lambda *args: True)
    # MMEngine's data sets call it at each start, which takes seconds in a process of many tests.
    monkeypatch.setattr(gc, 'collect', lambda: 0)
    root = tmp_path / 'data'
    root.mkdir()

    def make(name):
        """The config, reading its data from there."""
        cfg = read(name)
        made_image_configs.MAKERS[data_of(name)](root)
        return made_image_configs.moved(cfg, root)

    return make


def small(cfg):
    """A network of the family that the config names, for the same images and classes."""
    backbone = cfg.model.backbone
    backbone.init_cfg = None
    if backbone.type in ('ResNet', 'ResNet_CIFAR'):
        backbone.update(depth=18, stem_channels=8, base_channels=8)
        cfg.model.head.in_channels = 64
    else:
        backbone.depth = 11
    return MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))


@pytest.mark.parametrize(
    ('name', 'num_train', 'num_test'),
    [
        ('cifar10/resnet29_cifar10.py', 200, 40),
        ('cifar10/resnet29_cifar10_folder.py', 40, 10),
        ('cifar10/resnet18_worst_cifar10n.py', 40, 10),
        ('cifar10/resnet18_worst_cifar10n_tuning.py', 32, 8),
        ('cifar10/resnet18_symmetric40_cifar10_folder.py', 40, 10),
        ('cifar100/resnet29_cifar100.py', 40, 40),
        ('cifar100/resnet34_cifar100_per_image.py', 40, 40),
        ('imagenet/resnet50_imagenet.py', 3, 2),
        ('fine_grained/resnet50_cub.py', 4, 2),
        ('fine_grained/resnet50_flowers.py', 5, 3),
        ('fine_grained/resnet50_flowers_1020.py', 3, 3),
        ('fine_grained/resnet50_cars.py', 3, 3),
        ('fine_grained/resnet50_aircraft.py', 3, 3),
        ('fine_grained/resnet50_aircraft_100.py', 3, 3),
    ],
)
def test_data_load_and_a_network_learns_from_them(name, num_train, num_test, made):
    cfg = made(name)
    side = 32 if name.startswith('cifar') else 224
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model, batches = small(cfg), []
        for loader, size in ((cfg.train_dataloader, num_train), (cfg.val_dataloader, num_test)):
            loader.update(num_workers=0, persistent_workers=False, batch_size=size)
            dataset = Runner.build_dataloader(loader, seed=0)
            assert len(dataset.dataset) == size
            batches.append(next(iter(dataset)))
    for batch in batches:
        assert batch['inputs'][0].shape == (3, side, side)
    batch = model.data_preprocessor(batches[0], training=True)
    batch = dict(inputs=batch['inputs'][:4], data_samples=batch['data_samples'][:4])
    # The test images, which are neither padded nor jittered: normalised, and red first.
    inputs = model.data_preprocessor(batches[1])['inputs']
    mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
    if side == 32:
        mean, std = [125.3, 123.0, 113.9], [63.0, 62.1, 66.7]
    expected = (np.array(made_data.COLOURS) - mean) / std
    np.testing.assert_allclose(inputs.mean((0, 2, 3)), expected, atol=0.1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    values = []
    for _ in range(2):
        (loss,) = model.train()(**batch, mode='loss').values()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(float(loss.detach()))
    assert values[1] < values[0]


def test_the_papers_aircraft_have_90_classes(made):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        merged, plain = (
            Runner.build_dataloader(
                dict(cfg.val_dataloader, num_workers=0, persistent_workers=False), seed=0
            ).dataset
            for cfg in (
                made('fine_grained/resnet50_aircraft.py'),
                made('fine_grained/resnet50_aircraft_100.py'),
            )
        )
    names = plain.metainfo['classes']
    words = [name.split(' ')[0] for name in names]
    assert len(names) == 100 and merged.metainfo['classes'] == tuple(dict.fromkeys(words))
    assert len(merged.metainfo['classes']) == 90
    labels = [merged.get_data_info(index)['gt_label'] for index in range(3)]
    assert labels == [int(merged[index]['data_samples'].gt_label) for index in range(3)]
    assert [merged.metainfo['classes'][label] for label in labels] == ['Cessna', 'Cessna', 'Yak-42']
    assert [merged.get_cat_ids(index) for index in range(3)] == [[label] for label in labels]
    assert merged.get_gt_labels().tolist() == labels
    assert merged.metainfo['classes'] == merged.CLASSES
    assert len({plain.get_data_info(index)['gt_label'] for index in range(3)}) == 3


def test_no_white_pixel_becomes_black(tmp_path):
    """As MMPretrain's Lighting would make it in uint8."""
    path = tmp_path / 'white.png'
    Image.new('RGB', (64, 64), 'white').save(path)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        pipeline = Compose(read('imagenet/resnet50_imagenet.py').train_pipeline)
    for _ in range(10):
        assert pipeline(dict(img_path=str(path), gt_label=0))['inputs'].min() > 120


def test_train_resume_and_test_by_the_tools(made, tmp_path, monkeypatch):
    root = made('cifar100/resnet56_cifar100.py').data_root
    monkeypatch.chdir(ROOT)

    def tool(name, *words, epochs=2):
        options = ['model.backbone.depth=11', 'train_dataloader.batch_size=16']
        options += [f'train_dataloader.dataset.dataset.dataset.data_root={root}']
        options += [f'{split}_dataloader.dataset.dataset.data_root={root}' for split in SPLITS]
        options += [f'train_cfg.max_epochs={epochs}', 'param_scheduler.milestones=[1]']
        words = [name, 'configs/resnet56_ols_cifar100.py', *words, '--cfg-options', *options]
        monkeypatch.setattr(sys, 'argv', [str(word) for word in words])
        runpy.run_path(f'tools/{name}', run_name='__main__')

    run = tmp_path / 'run'
    tool('train.py', '--work-dir', run, epochs=1)
    tool('train.py', '--work-dir', run, '--resume')
    scalars = [
        json.loads(line)
        for path in sorted(run.glob('*/vis_data/scalars.json'))
        for line in path.read_text().splitlines()
    ]
    validated = {entry['step']: entry for entry in scalars if 'accuracy/top1' in entry}
    assert list(validated) == [1, 2]
    assert len(list(run.glob('best_accuracy_top1_epoch_*.pth'))) == 1
    assert {path.stem for path in run.glob('soft_labels/*/*.npy')} >= {'epoch_1', 'epoch_2'}

    tool('test.py', run / 'epoch_2.pth', '--work-dir', tmp_path / 'test')
    (result,) = (tmp_path / 'test').glob('*/*.json')
    tested = json.loads(result.read_text())
    for key in ('accuracy/top1', 'accuracy/top5', 'calibration/ece'):
        assert tested[key] == pytest.approx(validated[2][key])
