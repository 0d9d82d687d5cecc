"""Classifiers that teach themselves, made from configs, and what is refused."""

from __future__ import annotations

from copy import deepcopy

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmpretrain.models.classifiers import ImageClassifier
from mmpretrain.utils import register_all_modules
from tiny_models import read_host
from toy_self_distillation import MODEL, config

import mmdet_ols
from mmdet_ols import apply_method
from mmdet_ols.models.early_exit import EarlyExit

#: Parameters that the exits of byot add, as the released networks have them with 100 classes:
#: 1.79 M, 26.7 M and 6.18 M. The others are summed up by hand.
EXITS = {
    'cifar100/resnet34_cifar100.py': (1_791_020, [8, 4, 2]),
    'cifar100/resnet50_cifar100.py': (26_725_676, [8, 4, 2]),
    'cifar100/resnet101_cifar100.py': (26_725_676, [8, 4, 2]),
    'cifar100/resnext29_2x64d_cifar100.py': (6_177_992, [8, 4]),
    'cifar100/resnext29_32x4d_cifar100.py': (6_177_992, [8, 4]),
    'cifar100/resnet29_cifar100.py': (426_440, [8, 4]),
    'imagenet/resnet50_imagenet.py': (32_257_976, [8, 4, 2]),
}


@pytest.fixture(scope='module', autouse=True)
def modules():
    register_all_modules(init_default_scope=False)


def read(name):
    return Config.fromfile(mmdet_ols.config_path(name))


def exits_by_hand(channels, out, strides, classes):
    """Weights, biases, and scale and shift of each norm, added up."""
    width, total = out // 4, 0
    for c, k in zip(channels, strides):
        total += c * width + width + 2 * width
        total += width * width * k * k + width + 2 * width
        total += width * out + out + 2 * out
        total += out * classes + classes
    return total


@pytest.mark.parametrize('name', EXITS)
def test_exits_have_the_parameters_of_the_released_networks(name):
    count, strides = EXITS[name]
    cfg = apply_method(read(name), 'byot')
    model = cfg.model
    exits = [dict(early) for early in model.exits]
    assert [early['stride'] for early in exits] == strides
    assert model.final_stage == len(strides)
    channels = [early['channels'] for early in exits]
    assert exits_by_hand(channels, model.head.in_channels, strides, model.head.num_classes) == count
    modules = [
        EarlyExit(e['channels'], model.head.in_channels, e['stride'], model.head.num_classes)
        for e in exits
    ]
    assert sum(value.numel() for m in modules for value in m.parameters()) == count


@pytest.mark.parametrize(
    'path', ['resnet/resnet18_8xb32_in1k.py', 'resnext/resnext50-32x4d_8xb32_in1k.py']
)
def test_the_hosts_own_networks_get_exits(path):
    base = read_host(path, 'mmpretrain')
    cfg = apply_method(base, 'byot+ols')
    widths = [64, 128, 256] if 'resnet18' in path else [256, 512, 1024]
    assert [early['channels'] for early in cfg.model.exits] == widths
    assert cfg.model.backbone == base.model.backbone
    assert cfg.model.head.loss.type == 'OLSLoss' and cfg.default_hooks.ols.type == 'OLSHook'
    assert apply_method(cfg, 'ols').to_dict() == apply_method(base, 'ols').to_dict()


def test_options_reach_the_classifier_and_a_dump_is_read_back(tmp_path):
    cfg = apply_method(config(), 'byot:distillation=0.3,feature_exits=deeper,start_epoch=2+ols')
    model = cfg.model
    assert cfg.applied_method == 'byot:distillation=0.3,feature_exits=deeper,start_epoch=2+ols'
    assert (model.type, model.distillation, model.start_epoch) == ('MultiExitClassifier', 0.3, 2)
    assert cfg.custom_imports.imports == ['mmdet_ols.models.self_distillation']
    cfg.dump(tmp_path / 'config.py')
    again = Config.fromfile(tmp_path / 'config.py')
    assert again.to_dict() == cfg.to_dict()
    assert apply_method(again, 'hard').to_dict() == apply_method(config(), 'hard').to_dict()
    assert apply_method(again, 'byot').applied_method == cfg.applied_method.partition('+')[0]


def test_what_is_changed_in_the_config_stays_when_the_method_is_applied_again():
    cfg = apply_method(config(), 'ddgsd:temperature=4')
    cfg.model.kl_weight = 0.5
    again = apply_method(cfg, 'ddgsd:views=sum')
    assert again.applied_method == 'ddgsd:kl_weight=0.5,temperature=4,views=sum'
    assert (again.model.kl_weight, again.model.temperature) == (0.5, 4)
    assert apply_method(cfg, 'byot').applied_method == 'byot'


def test_the_type_of_the_model_is_restored_as_it_was_written():
    base = config()
    base.model.type = 'mmpretrain.ImageClassifier'
    base.custom_imports = dict(imports=['mine', 'mmdet_ols'], allow_failed_imports=True)
    for method in ('byot', 'ddgsd', 'tfkd_self', 'byot+ls'):
        cfg = apply_method(base, method)
        assert cfg.custom_imports.imports[-1] == 'mmdet_ols.models.self_distillation'
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            MODELS.build(deepcopy(cfg.model))
        assert apply_method(cfg, 'hard').to_dict() == apply_method(base, 'hard').to_dict()


def test_two_views_wrap_the_training_data_only():
    base = read('cifar100/resnet34_cifar100.py')
    cfg = apply_method(base, 'cutout:size=8+ddgsd')
    dataset = cfg.train_dataloader.dataset
    assert dataset.type == 'TwoViewDataset' and dataset.dataset.type == 'InMemoryDataset'
    assert dataset.dataset.batch_transforms[-1].type == 'BatchCutOut'
    assert cfg.val_dataloader == base.val_dataloader
    # Views of the config's own are its own business.
    own = config()
    own.train_dataloader.dataset = dict(type='TwoViewDataset', dataset=dict(type='CIFAR10'))
    assert apply_method(own, 'ols').train_dataloader == own.train_dataloader


def test_networks_of_windows_get_exits():
    """Swin transformers refuse maps that are smaller than their windows."""
    base = read_host('swin_transformer/swin-tiny_16xb64_in1k.py', 'mmpretrain')
    base.model.train_cfg = None
    for side, window in ((224, 7), (384, 12)):
        base.model.backbone.update(
            img_size=side, stage_cfgs=dict(block_cfgs=dict(window_size=window))
        )
        exits = apply_method(base, 'byot').model.exits
        assert [dict(early) for early in exits] == [
            dict(stage=0, channels=96, stride=8),
            dict(stage=1, channels=192, stride=4),
            dict(stage=2, channels=384, stride=2),
        ]


@MODELS.register_module()
class OtherClassifier(ImageClassifier):
    """A user's own."""


ATTENTION = dict(type='VisionTransformer', arch='deit-tiny', img_size=64, patch_size=16)


@pytest.mark.parametrize(
    ('method', 'change', 'message'),
    [
        ('byot', dict(backbone=dict(type='LeNet5')), r'LeNet5 \(model\.backbone\) has no stages'),
        ('byot', dict(backbone=ATTENTION), r'VisionTransformer .* of one stage.*out_indices=\(-1,'),
        ('byot', dict(backbone=dict(MODEL['backbone'], out_indices=(0,))), r'out_indices=\(0,\)'),
        (
            'byot',
            dict(backbone=dict(MODEL['backbone'], out_indices=(1, 2))),
            r'out_indices=\(1, 2\): name the number of its last stage',
        ),
        (
            'byot',
            dict(backbone=dict(MODEL['backbone'], depth=9)),
            r'CIFARResNet .* cannot return the maps of its stages \[0, 1, 2\].*`depth`',
        ),
        (
            'byot',
            dict(head=dict(type='ClsHead', num_classes=3)),
            r'ClsHead \(model\.head\) must say its `in_channels`',
        ),
        ('byot:distillation=2', {}, r'`distillation` must be in \[0, 1\], but got 2'),
        ('byot:final_weight=0', {}, r'`final_weight` must be above 0, but got 0'),
        ('byot:feature_exits=last', {}, r"`feature_exits` must be one of \('all', 'deeper'\)"),
        ('byot:start_epoch=3', {}, r'less than the 3 epochs .*but got 3: set start_epoch=0'),
        ('byot:start_epoch=1.5', {}, r'`start_epoch` must be 0 or a positive integer'),
        ('byot:temperature_squared=2', {}, r'`temperature_squared` must be True or False'),
        ('ddgsd:detach_target=no', {}, r'`detach_target` must be True or False, but got .no.'),
        ('ddgsd:temperature=0', {}, r'`temperature` must be above 0, but got 0'),
        ('ddgsd:views=three', {}, r"`views` must be one of \('mean', 'sum'\), but got 'three'"),
        ('ddgsd:over_classes=max', {}, r'`over_classes` must be one of'),
        ('ddgsd:mmd_weight=-1', {}, r'`mmd_weight` must be at least 0'),
        ('tfkd_self:alpha=2', {}, r'`alpha` must be in \[0, 1\], but got 2'),
        ('tfkd_self:form=new', {}, r'`form` must be one of \(.released., .fair.\)'),
        ('tfkd_self:multiplier=-1', {}, r'`multiplier` must be None or at least 0'),
        (
            'ddgsd',
            dict(train_cfg=dict(augments=dict(type='Mixup', alpha=0.2))),
            'ddgsd looks at each training sample, but Mixup mixes',
        ),
        (
            'tfkd_self',
            dict(type='OtherClassifier'),
            "tfkd_self must be MMPretrain's ImageClassifier, .* but got OtherClassifier",
        ),
        (
            'tfkd_self',
            dict(head=dict(MODEL['head'], loss=dict(type='LabelSmoothLoss', use_sigmoid=True,
                                                    label_smooth_val=0.0))),
            r'LinearClsHead \(model\.head\): tfkd_self is defined for softmax scores',
        ),
        (
            'byot:distillation=0.5',
            dict(head=dict(MODEL['head'], loss=dict(type='LabelSmoothLoss', use_sigmoid=True,
                                                    label_smooth_val=0.0))),
            'byot is defined for softmax scores',
        ),
        (
            'ddgsd',
            dict(head=dict(type='ArcFaceClsHead', num_classes=3, in_channels=16)),
            r'ArcFaceClsHead \(model\.head\) computes its loss in its own way',
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_done_names_the_part(method, change, message):
    cfg = config()
    for name, value in change.items():
        cfg.model[name] = value
    with pytest.raises(ValueError, match=f'(?s){message}'):
        apply_method(cfg, method)


@pytest.mark.parametrize('method', ['byot', 'ddgsd', 'tfkd_self'])
def test_detectors_are_refused(method):
    base = read_host('faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py')
    with pytest.raises(ValueError, match=f"Head: {method} .* defined for MMPretrain's"):
        apply_method(base, method)


def test_loops_and_data_that_a_method_needs():
    cfg = config(train_cfg=dict(by_epoch=False, max_iters=9))
    with pytest.raises(ValueError, match='counts no epochs: set start_epoch=0'):
        apply_method(cfg, 'byot')
    assert apply_method(cfg, 'byot:start_epoch=0').model.start_epoch == 0
    with pytest.raises(ValueError, match='no `train_dataloader` with a data set'):
        apply_method(config(train_dataloader=None), 'ddgsd')


@pytest.mark.parametrize('method', ['ddgsd+ols', 'tfkd_self+byot', 'byot+sce'])
def test_combinations_that_nobody_defined_are_refused(method):
    with pytest.raises(ValueError, match=r'Known combinations: .*byot\+ols'):
        apply_method(config(), method)
