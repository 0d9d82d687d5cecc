"""Configs of the methods that learn the weights of samples from a few clean ones."""

from __future__ import annotations

import copy

import pytest
from mmengine.config import Config
from tiny_models import read_host

import mmdet_ols
from mmdet_ols import apply_method
from mmdet_ols.config_tree import type_name
from mmdet_ols.datasets.tree import walk_datasets
from mmdet_ols.methods import hard_form

EVERY_METHOD = pytest.mark.parametrize('method', ['l2rw', 'meta_weight_net'])


@pytest.fixture(scope='module')
def base():
    """CIFAR-100 with 40 % wrong labels: InMemoryDataset > NoisyLabelDataset > CIFAR100."""
    return Config.fromfile(mmdet_ols.config_path('cifar100/resnet56_noise40_cifar100.py'))


def names(cfg):
    return [type_name(node) for node in walk_datasets(cfg.train_dataloader.dataset)]


def test_what_l2rw_changes(base):
    before = copy.deepcopy(base.to_dict())
    cfg = apply_method(base, 'l2rw')
    assert names(cfg) == [
        'NumberedDataset', 'InMemoryDataset', 'CleanPartDataset', 'NoisyLabelDataset', 'CIFAR100',
    ]  # fmt: skip
    part = cfg.train_dataloader.dataset.dataset.dataset
    assert (part.part, part.samples_per_class) == ('rest', 10)
    others = {k: v for k, v in base.train_cfg.items() if k != 'by_epoch'}
    assert cfg.train_cfg == dict(type='L2RWTrainLoop', clean_batch_size=100, **others)
    assert cfg.model.head.loss.type == 'SampleWeightLoss' and cfg.applied_method == 'l2rw'
    assert base.to_dict() == before
    given = apply_method(base, 'l2rw:clean_per_class=1,clean_batch_size=50')
    assert given.train_dataloader.dataset.dataset.dataset.samples_per_class == 1
    assert given.train_cfg.clean_batch_size == 50


def test_the_forms_of_meta_weight_net(base):
    stable = apply_method(base, 'meta_weight_net').train_cfg
    assert stable.type == 'MetaWeightNetTrainLoop'
    assert (stable.hidden, stable.normalize) == (100, False)
    assert stable.optimizer == dict(type='Adam', lr=1e-5, weight_decay=1e-4)
    early = apply_method(base, 'meta_weight_net:form=early,hidden=20').train_cfg
    assert (early.hidden, early.normalize) == (20, True)
    assert early.optimizer == dict(type='SGD', lr=1e-3, weight_decay=0.0)
    given = apply_method(base, 'meta_weight_net:weight_lr=1e-4,weight_decay=0.1').train_cfg
    assert given.optimizer == dict(type='Adam', lr=1e-4, weight_decay=0.1)
    none = apply_method(base, 'meta_weight_net:weight_decay=0').train_cfg
    assert none.optimizer == dict(type='Adam', lr=1e-5, weight_decay=0)


@EVERY_METHOD
def test_another_method_undoes_all_of_it(base, method):
    cfg = apply_method(base, method)
    assert hard_form(cfg).to_dict() == hard_form(base).to_dict()
    assert apply_method(cfg, 'ols').to_dict() == apply_method(base, 'ols').to_dict()
    assert apply_method(cfg, method).to_dict() == cfg.to_dict()
    named = copy.deepcopy(base)
    named.train_cfg.pop('by_epoch')
    named.train_cfg.type = 'EpochBasedTrainLoop'
    assert hard_form(apply_method(named, method)).to_dict() == hard_form(named).to_dict()


@EVERY_METHOD
def test_cutout_blanks_the_clean_images_as_well(base, method):
    """Both parts get the transforms of the one InMemoryDataset."""
    cfg = apply_method(base, f'cutout+{method}')
    transforms = cfg.train_dataloader.dataset.dataset.batch_transforms
    assert transforms[-1].type == 'BatchCutOut'
    assert hard_form(cfg).to_dict() == hard_form(base).to_dict()


@EVERY_METHOD
def test_a_plain_config_of_the_host_gets_its_clean_part_too(method):
    cfg = apply_method(read_host('resnet/resnet18_8xb16_cifar10.py', 'mmpretrain'), method)
    assert names(cfg) == ['NumberedDataset', 'CleanPartDataset', 'CIFAR10']
    repeated = read_host('resnet/resnet18_8xb16_cifar10.py', 'mmpretrain')
    inner = repeated.train_dataloader.dataset
    repeated.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=inner)
    assert names(apply_method(repeated, method)) == [
        'NumberedDataset', 'RepeatDataset', 'CleanPartDataset', 'CIFAR10',
    ]  # fmt: skip


@pytest.mark.parametrize(
    ('method', 'message'),
    [
        ('l2rw:clean_per_class=0', '`clean_per_class` of l2rw must be a positive integer'),
        ('l2rw:clean_batch_size=0', '`clean_batch_size` of l2rw must be a positive'),
        (
            'meta_weight_net:form=old',
            r"`form` .* must be one of \('stable', 'early'\), but got 'old'",
        ),
        ('meta_weight_net:hidden=0', '`hidden`.* must be a positive integer, but got 0'),
        ('meta_weight_net:weight_lr=0', '`weight_lr` of meta_weight_net must be None or above 0'),
        ('meta_weight_net:weight_decay=-1', '`weight_decay` .* must be None or at least 0'),
        ('l2rw:steps=3', "An option of 'l2rw' must be known"),
        ('l2rw+ols', 'Methods that are combined must change different things'),
    ],
)
def test_bad_options(base, method, message):
    with pytest.raises(ValueError, match=message):
        apply_method(base, method)


def changed(base, change):
    cfg = copy.deepcopy(base)
    change(cfg)
    return cfg


@EVERY_METHOD
@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            lambda cfg: cfg.update(train_cfg=dict(by_epoch=False, max_iters=9)),
            'counts epochs, but the config counts iterations: set train_cfg',
        ),
        (
            lambda cfg: cfg.update(train_cfg=dict(type='MyLoop', max_epochs=9)),
            'so has the config, MyLoop: remove `train_cfg.type`',
        ),
        (
            lambda cfg: cfg.model.backbone.update(with_cp=True),
            'with_cp=True makes CIFARResNet compute it again',
        ),
        (
            lambda cfg: cfg.train_dataloader.dataset.update(
                dataset=dict(type='CleanPartDataset', dataset=cfg.train_dataloader.dataset.dataset)
            ),
            'they have a CleanPartDataset already',
        ),
        (
            lambda cfg: cfg.model.update(train_cfg=dict(augments=dict(type='Mixup', alpha=1.0))),
            'Mixup mixes the images',
        ),
        (lambda cfg: cfg.pop('train_dataloader'), 'the config has no `train_dataloader`'),
    ],
)
def test_configs_that_cannot(base, method, change, message):
    with pytest.raises(ValueError, match=message):
        apply_method(changed(base, change), method)


@EVERY_METHOD
@pytest.mark.parametrize('train_cfg', [dict(max_epochs=9), dict(by_epoch=False, max_iters=9)])
def test_a_detector_cannot(method, train_cfg):
    cfg = read_host('faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py')
    cfg.train_cfg = train_cfg
    with pytest.raises(ValueError, match=f'{method}.*classifiers of one head only'):
        apply_method(cfg, method)
