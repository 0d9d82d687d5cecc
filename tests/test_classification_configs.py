"""The configs for MMPretrain: pairs differ in the loss alone, and every one of them trains."""

from __future__ import annotations

import gc
import json
import runpy
import sys
from pathlib import Path

import made_image_data
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
from mmdet_ols.paper import paper_results

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / 'configs'
CLASSES = {
    'cifar10': 10,
    'cifar10_folder': 10,
    'cifar100': 100,
    'cifar100_per_image': 100,
    'imagenet': 1000,
    'imagenet_cutout': 1000,
    'cub': 200,
    'flowers': 102,
    'flowers_1020': 102,
    'cars': 196,
    'aircraft': 90,
    'aircraft_100': 100,
}
CIFAR_NETWORKS = (
    'resnet29', 'resnet34', 'resnet50', 'resnet56', 'resnet74', 'resnet101', 'resnet110',
    'resnext29_2x64d', 'resnext29_32x4d',
)  # fmt: skip
#: Folder: its networks and its data.
CELLS = {
    'cifar10': (['resnet29'], ['cifar10', 'cifar10_folder']),
    'cifar100': (CIFAR_NETWORKS, ['cifar100', 'cifar100_per_image']),
    'imagenet': (['resnet50', 'resnet101'], ['imagenet', 'imagenet_cutout']),
    'fine_grained': (
        ['resnet50', 'mobilenetv2', 'efficientnet_b7', 'san15'],
        ['cub', 'flowers', 'flowers_1020', 'cars', 'aircraft', 'aircraft_100'],
    ),
}
CONFIGS = sorted(
    str(path.relative_to(FOLDER))
    for path in FOLDER.rglob('*.py')
    if path.parent.name in CELLS or (path.parent == FOLDER and path.name.startswith('resnet56_'))
)
#: What each method's file puts in the place of the cross entropy.
LOSSES = {
    'bootsoft': ('BootstrapLoss', dict(mode='soft', beta=0.95)),
    'boothard': ('BootstrapLoss', dict(mode='hard', beta=0.8)),
    'disturblabel': ('DisturbLabelLoss', dict(rate=0.1)),
    'ls': ('LSLoss', dict(epsilon=0.1)),
    'ols': ('OLSLoss', dict(alpha=0.5)),
    'ols_single': ('OLSSingleLoss', dict(alpha=0.5)),
    'ols_as_released': (
        'OLSLoss',
        dict(alpha=0.5, loss_weight=2.0, freeze_confidence=0.88, empty_class='uniform'),
    ),
    'cifar10/tfkd.py': ('TfKDRegLoss', dict(alpha=0.1, temperature=20.0, form='fair')),
    'tfkd': ('TfKDRegLoss', dict(alpha=0.95, temperature=6.0, form='released')),
    'tfkd_fair': ('TfKDRegLoss', dict(alpha=0.95, temperature=6.0, form='fair')),
}


@pytest.fixture(autouse=True)
def _no_cell(monkeypatch):
    """None of the variables that choose a cell is set by whoever runs the tests."""
    for name in ('NETWORK', 'DATA', 'DATA_ROOT', 'NOISE_RATE', 'CIFAR10H', 'SAN_FORM', 'ENSEMBLES'):
        monkeypatch.delenv(name, raising=False)


def read(name):
    return Config.fromfile(mmdet_ols.config_path(name))


def method_of(name):
    return name.split('/')[-1].removesuffix('.py').replace('resnet56_', '').split('_cifar')[0]


@pytest.mark.parametrize('name', [name for name in CONFIGS if method_of(name) != 'hard'])
def test_a_method_differs_from_its_baseline_in_the_loss_alone(name):
    changed = read(name).to_dict()
    method = method_of(name)
    baseline = read(name.replace(method, 'hard')).to_dict()
    num_classes = baseline['model']['head']['num_classes']
    # Where the results go, what the paper says, and variables that no one reads afterwards.
    for key in ('work_dir', 'paper_result', 'loss', 'temperature', 'confusion'):
        for cfg in (changed, baseline):
            cfg.pop(key, None)
    loss = changed['model']['head'].pop('loss')
    hard = baseline['model']['head'].pop('loss')
    assert hard == dict(type='CrossEntropyLoss', loss_weight=1.0)
    if method.startswith('ols'):
        assert changed['default_hooks'].pop('ols') == dict(type='OLSHook')
    if method == 'pairwise_confusion':
        hook = changed['default_hooks'].pop(method)
        assert hook['type'] == 'SwitchRecipeHook' and loss == hard
        (switch,) = hook['schedule']
        assert switch['action_epoch'] == 201  # epochs 200 to 299, counted from 0
        confusion = dict(num_classes=num_classes, form='ols', confusion_weight=0.1 * num_classes)
        assert switch['loss'] == dict(type='PairwiseConfusionLoss', **confusion)
    else:
        if method == 'sce':
            options = dict(alpha=0.1, beta=1.0) if num_classes == 10 else dict(alpha=6.0, beta=0.1)
            kind = 'SCELoss'
        else:
            kind, options = LOSSES.get(name, LOSSES[method])
        assert loss == dict(type=kind, num_classes=num_classes, **options)
    assert changed == baseline


@pytest.mark.parametrize(
    ('name', 'epochs', 'milestones', 'batch', 'optimizer'),
    [
        ('cifar100', 300, [150, 225], 128, dict(lr=0.1, weight_decay=5e-4, nesterov=True)),
        ('cifar10', 300, [150, 225], 128, dict(lr=0.1, weight_decay=5e-4, nesterov=True)),
        ('imagenet', 250, [75, 150, 225], 4 * 64, dict(lr=0.1, weight_decay=1e-4, nesterov=True)),
        ('fine_grained', 100, [45, 80], 64, dict(lr=0.01, weight_decay=1e-4)),
    ],
)
def test_recipes_are_the_papers(name, epochs, milestones, batch, optimizer):
    cfg = read(f'{name}/ols.py')
    assert cfg.train_cfg.max_epochs == epochs and cfg.train_cfg.val_interval == 1
    steps = dict(type='MultiStepLR', by_epoch=True, milestones=milestones, gamma=0.1)
    assert cfg.param_scheduler == steps
    assert cfg.optim_wrapper.optimizer == dict(type='SGD', momentum=0.9, **optimizer)
    assert cfg.auto_scale_lr.base_batch_size == batch
    processes = 4 if name == 'imagenet' else 1
    assert cfg.train_dataloader.batch_size * processes == batch


@pytest.mark.parametrize('folder', CELLS)
def test_every_cell_is_a_classifier_of_its_data(folder, monkeypatch):
    """Every network, and every data set with one of them; nothing is computed."""
    monkeypatch.setattr(torch.nn.init, 'kaiming_uniform_', lambda tensor, *args, **kwargs: tensor)
    networks, data_sets = CELLS[folder]
    cells = [(network, data_sets[0]) for network in networks]
    cells += [(networks[0], data) for data in data_sets[1:]]
    side = 32 if folder.startswith('cifar') else 224
    for network, data in cells:
        monkeypatch.setenv('NETWORK', network)
        monkeypatch.setenv('DATA', data)
        cfg = read(f'{folder}/ols.py')
        assert f'{data}_{network}' in cfg.work_dir
        assert cfg.data_preprocessor.num_classes == CLASSES[data]
        assert cfg.model.head.loss.num_classes == CLASSES[data]
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            model = MODELS.build(cfg.model).eval().to('meta')
        scores = model(torch.empty(2, 3, side, side, device='meta'))
        assert scores.shape == (2, CLASSES[data])


@pytest.mark.parametrize('name', CONFIGS)
def test_losses_hooks_and_metrics_can_be_built(name, tmp_path, monkeypatch):
    np.save(tmp_path / 'human.npy', np.ones((10000, 10)))
    monkeypatch.setenv('CIFAR10H', str(tmp_path / 'human.npy'))
    monkeypatch.setenv('NOISE_RATE', '0.4')
    cfg = read(name)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        MODELS.build(cfg.model.head)
        del cfg.default_hooks.visualization  # it needs a run
        for hook in [*cfg.get('custom_hooks', []), *cfg.default_hooks.values()]:
            HOOKS.build(hook)
        names = {type(METRICS.build(metric)).__name__ for metric in cfg.test_evaluator}
    assert names >= {'Accuracy', 'CalibrationError'}
    assert ('CIFAR10HDivergence' in names) == name.startswith('cifar10/')
    noisy = name.startswith(('cifar', 'resnet56'))
    assert any(hook.type == 'TrainErrorHook' for hook in cfg.get('custom_hooks', [])) == noisy
    if noisy:
        assert cfg.train_dataloader.dataset.dataset.rate == 0.4 and 'noise0.4' in cfg.work_dir


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Makes tiny data of a layout, and points the configs there."""
    monkeypatch.setattr(cifar, 'check_md5', lambda *args: True)
    # MMEngine's data sets call it at each start, which takes seconds in a process of many tests.
    monkeypatch.setattr(gc, 'collect', lambda: 0)
    root = tmp_path / 'data'
    root.mkdir()

    def make(data):
        made_image_data.MAKERS[data](root)
        monkeypatch.setenv('DATA_ROOT', str(root))
        monkeypatch.setenv('DATA', data)

    return make


def small(cfg):
    """A network of the family that the config names, for the same images and classes."""
    backbone = cfg.model.backbone
    backbone.init_cfg = None
    if backbone.type == 'ResNet':
        backbone.update(depth=18, stem_channels=8, base_channels=8)
        cfg.model.head.in_channels = 64
    else:
        backbone.depth = 11
    return MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))


@pytest.mark.parametrize(
    ('data', 'num_train', 'num_test'),
    [
        ('cifar10', 200, 40),
        ('cifar10_folder', 40, 10),
        ('cifar100', 40, 40),
        ('cifar100_per_image', 40, 40),
        ('imagenet', 3, 2),
        ('imagenet_cutout', 3, 2),
        ('cub', 4, 2),
        ('flowers', 5, 3),
        ('flowers_1020', 3, 3),
        ('cars', 3, 3),
        ('aircraft', 3, 3),
        ('aircraft_100', 3, 3),
    ],
)
def test_data_load_and_a_network_learns_from_them(data, num_train, num_test, made, monkeypatch):
    made(data)
    if data.startswith('cifar'):
        monkeypatch.setenv('NETWORK', 'resnet29')
    folder = next(folder for folder, (_, data_sets) in CELLS.items() if data in data_sets)
    cfg = read(f'{folder}/ols.py')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model, batches = small(cfg), []
        for loader, size in ((cfg.train_dataloader, num_train), (cfg.val_dataloader, num_test)):
            loader.update(num_workers=0, persistent_workers=False, batch_size=size)
            dataset = Runner.build_dataloader(loader, seed=0)
            assert len(dataset.dataset) == size
            batches.append(next(iter(dataset)))
    for batch in batches:
        side = 32 if data.startswith('cifar') else 224
        assert batch['inputs'][0].shape == (3, side, side)
    batch = model.data_preprocessor(batches[0], training=True)
    batch = dict(inputs=batch['inputs'][:4], data_samples=batch['data_samples'][:4])
    # The test images, which are neither padded nor jittered: normalised, and red first.
    inputs = model.data_preprocessor(batches[1])['inputs']
    mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
    if data.startswith('cifar'):
        mean, std = [125.3, 123.0, 113.9], [63.0, 62.1, 66.7]
    expected = (np.array(made_image_data.COLOURS) - mean) / std
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
    made('aircraft')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        merged, plain = (
            Runner.build_dataloader(
                dict(read_aircraft(name), num_workers=0, persistent_workers=False), seed=0
            ).dataset
            for name in ('aircraft', 'aircraft_100')
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


def read_aircraft(data):
    path = mmdet_ols.config_path(f'_base_/datasets/{data}.py')
    return Config.fromfile(path).val_dataloader


def test_no_white_pixel_becomes_black(tmp_path):
    """As MMPretrain's Lighting would make it in uint8."""
    path = tmp_path / 'white.png'
    Image.new('RGB', (64, 64), 'white').save(path)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        pipeline = Compose(read('imagenet/hard.py').train_pipeline)
    for _ in range(10):
        assert pipeline(dict(img_path=str(path), gt_label=0))['inputs'].min() > 120


def test_papers_figures_add_up_to_what_its_text_says():
    def value(metric, method, data, network, **more):
        found = paper_results(method, data, network, **more)
        return next(result['value'] for result in found if result['metric'] == metric)

    # Table VI, its last row: the average improvements over hard labels.
    networks, data = (
        ('resnet50', 'mobilenetv2', 'efficientnet_b7', 'san15'),
        CELLS['fine_grained'][1],
    )
    cells = [(d, n) for n in networks for d in data if d not in ('flowers_1020', 'aircraft_100')]
    # (Those of the top-5 errors of LS and Tf-KD, 0.02 and 0.19, do not follow from its own rows.)
    for method, metric, expected in (
        ('ls', 'top1_error', 1.11),
        ('tfkd', 'top1_error', 0.44),
        ('ols', 'top1_error', 2.00),
        ('ols', 'top5_error', 0.96),
    ):
        gains = [value(metric, 'hard', *cell) - value(metric, method, *cell) for cell in cells]
        assert np.mean(gains) == pytest.approx(expected, abs=0.02)
    # Table IX, section V-C: average gains of OLS.
    for metric, baseline, expected in (
        ('top1_error', 'hard', 17.9),
        ('top5_error', 'hard', 13.9),
        ('top1_error', 'ls', 2.3),
        ('top5_error', 'ls', 2.4),
    ):
        gains = [
            value(f'{attack}/{metric}', baseline, 'imagenet', 'resnet50')
            - value(f'{attack}/{metric}', 'ols', 'imagenet', 'resnet50')
            for attack in ('fgsm', 'pgd')
        ]
        assert np.mean(gains) == pytest.approx(expected, abs=0.06)
    # Table XI, section V-E: OLS below LS by an average of 1.14.
    gains = [
        value('top1_error', 'ls', 'cifar100', network)
        - value('top1_error', 'ols', 'cifar100', network)
        for network in ('resnet56', 'resnet74', 'resnet110')
    ]
    assert np.mean(gains) == pytest.approx(1.14, abs=0.005)
    # Table VII's row without noise is Table XI's.
    found = paper_results('ols', 'cifar100', 'resnet56')
    assert {result['value'] for result in found if result['metric'] == 'top1_error'} == {25.24}
    assert value('top1_error', 'ols', 'cifar100_per_image', 'resnet56', noise_rate=0.6) == 50.04
    assert value('ensemble/top1_error_20', 'ols', 'cifar100', 'resnet56') == 23.91
    assert value('cifar10h/kl', 'ols', 'cifar10_folder', 'resnet29') == 0.1399
    assert value('top1_error', 'ols', 'cifar100', 'resnext29_2x64d') == 18.81
    assert value('top5_error', 'ls', 'imagenet_cutout', 'resnet101') == 5.51
    assert paper_results('ols', 'cifar100', 'resnet56', schedule='cifar_small') == []
    assert paper_results('ols', 'cifar100', 'resnet56', noise_rate=0.3) == []
    assert paper_results('ols', 'cub', 'vgg') == []


def test_train_resume_and_test_by_the_tools(made, tmp_path, monkeypatch):
    made('cifar100')
    monkeypatch.chdir(ROOT)

    def tool(name, *words, epochs=2):
        options = ['model.backbone.depth=11', 'train_dataloader.batch_size=16']
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
