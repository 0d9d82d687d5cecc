"""A config that is made small keeps its network, classes, losses, metrics and method."""

from __future__ import annotations

import pytest

from mmdet_ols import config_path
from mmdet_ols.config_tree import hook_configs, type_name
from mmdet_ols.datasets.tree import datasets_of_config
from mmdet_ols.engine.run_config import read_config
from mmdet_ols.experiments.settings import differences, flat_settings, is_below
from mmdet_ols.reproduction.smoke_config import reduced

#: What may be another in a small config, each with all below it.
REDUCED = (
    'train_cfg.max_epochs', 'train_cfg.val_interval', 'param_scheduler', 'train_dataloader',
    'val_dataloader', 'test_dataloader', 'tta_pipeline', 'data_root', 'custom_imports', 'work_dir',
    'default_hooks.checkpoint', 'default_hooks.logger.interval', 'model.backbone.init_cfg',
    'model.data_preprocessor.batch_augments', 'randomness.seed', 'data_preprocessor.batch_augments',
)  # fmt: skip
CONFIGS = [
    'cifar100/resnet56_noise40_cifar100.py',
    'cifar10/resnet29_cifar10.py',
    'fine_grained/san15_cub.py',
    'fine_grained/efficientnet_b7_aircraft.py',
    'imagenet/resnet50_imagenet.py',
    'yolo_hard_voc.py',
]


def small(config, method, tmp_path, *options):
    cfg = read_config(config_path(config), options=options, work_dir=tmp_path)
    return reduced(cfg, method, tmp_path)


@pytest.mark.parametrize('config', CONFIGS)
def test_only_sizes_and_places_differ(config, tmp_path):
    whole = read_config(config_path(config), method='ols', work_dir=tmp_path)
    cfg, _ = small(config, 'ols', tmp_path)
    different = differences(flat_settings(whole), flat_settings(cfg))
    others = [
        key
        for key in different
        if not is_below(key, REDUCED) and not key.endswith(('num_samples', 'human'))
    ]
    assert others == []
    assert len(different) > 10  # it was made small


def test_the_data_are_made_ones_of_the_same_kind(tmp_path):
    cfg, notes = small('cifar100/resnet56_noise40_cifar100.py', 'ols', tmp_path)
    types = {type_name(dataset) for _, dataset in datasets_of_config(cfg)}
    roots = {dataset.data_root for _, dataset in datasets_of_config(cfg)}
    assert types == {'MadeCIFAR100'} and roots == {str(tmp_path / 'CIFAR100')}
    assert cfg.train_dataloader.dataset.dataset.rate == 0.4
    assert notes == (
        'The images are noise, in the layout of the data set (CIFAR100) and with its classes.',
        'It trains for 5 epochs instead of 300, over which its schedule is stretched, each of 8 '
        'images in batches of 4 instead of 128.',
        'Images have 8 pixels a side instead of 32.',
    )


@pytest.mark.parametrize(
    ('config', 'side'),
    [
        ('fine_grained/resnet50_cub.py', 64),
        ('fine_grained/san15_cub.py', 128),  # which refuses smaller ones
        ('imagenet/resnet50_imagenet.py', 64),
    ],
)
def test_images_are_as_small_as_the_network_takes(config, side, tmp_path):
    cfg, _ = small(config, 'cutout+ols', tmp_path)
    test = {step.type: step for step in cfg.test_dataloader.dataset.pipeline}
    train = {step['type']: step for step in cfg.train_dataloader.dataset.pipeline}
    assert test['CenterCrop'].crop_size == side
    assert (train.get('RandomCrop') or train['RandomResizedCrop']).get('crop_size', side) == side
    assert train['CutOutSquare']['size'] == side // 2


def test_images_that_no_transform_sizes_are_made_small(tmp_path):
    cfg, _ = small('cifar100/resnet56_cifar100.py', 'hard', tmp_path)
    train, test = cfg.train_dataloader.dataset, cfg.test_dataloader.dataset
    assert (train.batch_transforms[0].crop_size, train.batch_transforms[0].padding) == (8, 1)
    for leaf in (train.dataset.dataset, test.dataset):
        assert leaf.pipeline == [dict(type='Resize', scale=(8, 8)), dict(type='PackInputs')]


def test_every_stage_of_a_method_is_reached(tmp_path):
    def loss(method):
        return small('cifar100/resnet56_cifar100.py', method, tmp_path)[0].model.head.loss

    pencil = loss('pencil')
    assert 0 < pencil.correct_from < pencil.correct_until < 5
    assert 0 < loss('m_correction').correct_from < 5
    assert 0 < loss('deep_self_learning').correct_from < 5
    cfg, _ = small('cifar100/resnet56_cifar100.py', 'pairwise_confusion', tmp_path)
    (hook,) = hook_configs(cfg, 'LateLossHook')
    assert 1 < hook['action_epoch'] <= 5
    assert cfg.param_scheduler.milestones == [2, 4]
    cfg, _ = small('cifar100/resnet56_cifar100.py', 'byot+ols', tmp_path)
    assert cfg.model.start_epoch < 5


def test_a_clean_part_leaves_images_of_each_class(tmp_path):
    cfg, notes = small('cifar100/resnet56_cifar100.py', 'l2rw', tmp_path)
    part = cfg.train_dataloader.dataset.dataset.dataset
    assert (part.type, part.samples_per_class) == ('CleanPartDataset', 1)
    assert part.dataset.dataset.indices is None
    assert notes[-1] == '1 clean image a class is held out instead of 10.'


def test_ensembles_keep_their_sizes(tmp_path):
    cfg, _ = small('cifar100/resnet56_ensembles_cifar100.py', 'hard', tmp_path)
    (hook,) = cfg.custom_hooks
    assert hook.sizes == (1, 6, 10, 15, 20)
    assert cfg.train_cfg.max_epochs == 60
    assert all(60 // size % cfg.default_hooks.checkpoint.interval == 0 for size in hook.sizes)


def test_a_period_of_iterations_ends_within_the_run(tmp_path):
    options = [f'default_hooks.ols.{entry}' for entry in ('type=OLSHook', 'by_epoch=False')]
    options += ['default_hooks.ols.interval=3072']
    cfg, notes = small('cifar10/resnet29_cifar10.py', 'ols', tmp_path, *options)
    (hook,) = hook_configs(cfg, 'OLSHook')
    assert (hook['by_epoch'], hook['interval']) == (False, 5)
    assert 'The soft labels are renewed every 5 iterations instead of every 3072.' in notes
