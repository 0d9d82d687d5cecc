"""The keys by which runs of other machines are known."""

from __future__ import annotations

import shlex

import mmdet_ols
from mmdet_ols.experiments.identity import (
    portable_config,
    portable_key,
    portable_options,
    portable_settings,
)

SETTINGS = {
    'custom_hooks.0.human': '/data/cifar10/meta/probs.npy',
    'default_hooks.checkpoint.interval': 1,
    'env_cfg.cudnn_benchmark': False,
    'log_level': 'INFO',
    'load_from': None,
    'model.backbone.init_cfg.checkpoint': '/data/weights/net.pth',
    'model.head.alpha': 0.5,
    'optim_wrapper.optimizer.lr': 1.0,
    'randomness.seed': 3,
    'train_dataloader.dataset.ann_file': 'meta/train.txt',
    'train_dataloader.dataset.backend_args': None,
    'train_dataloader.dataset.data_root': '/data/cifar10',
    'train_dataloader.dataset.device': 'cpu',
    'train_dataloader.num_workers': 2,
    'visualizer.type': 'DetLocalVisualizer',
}


def changed(**changes):
    return portable_key({**SETTINGS, **{k.replace('__', '.'): v for k, v in changes.items()}})


def without(*keys):
    return portable_key({k: value for k, value in SETTINGS.items() if k not in keys})


def test_places_machines_and_seeds_do_not_count():
    key = portable_key(SETTINGS)
    assert key == portable_key(
        {
            **SETTINGS,
            'custom_hooks.0.human': 'elsewhere/cifar10/meta/probs.npy',
            'model.backbone.init_cfg.checkpoint': 'https://host/net.pth',
            'train_dataloader.dataset.data_root': 'elsewhere/cifar10/',
        }
    )
    assert key == changed(randomness__seed=7, train_dataloader__num_workers=0)
    assert key == changed(train_dataloader__dataset__device='cuda', env_cfg__cudnn_benchmark=True)
    assert key == changed(optim_wrapper__optimizer__lr=1)
    assert changed(custom_hooks__1__file='/data/x.npy') == changed(custom_hooks__1__file='~/x.npy')
    names = ('default_hooks.checkpoint.interval', 'env_cfg.cudnn_benchmark', 'visualizer.type')
    assert key == without(*names, 'log_level', 'train_dataloader.dataset.backend_args')


def test_all_else_counts():
    keys = [
        portable_key(SETTINGS),
        changed(model__head__alpha=0.3),
        changed(model__backbone__init_cfg__checkpoint='/data/weights/other.pth'),
        changed(model__backbone__init_cfg__checkpoint='open-mmlab://detectron/resnet50_caffe'),
        changed(model__backbone__init_cfg__checkpoint='open-mmlab://detectron2/resnet50_caffe'),
        changed(train_dataloader__dataset__data_root='/data/cifar10_small'),
        changed(train_dataloader__dataset__ann_file='meta/test.txt'),
        changed(custom_hooks__0__human='/data/cifar10/meta/other.npy'),
        changed(randomness__deterministic=True),
        without('model.head.alpha'),
    ]
    parts = ['custom_hooks.0.type', 'data_preprocessor.mean', 'load_from', 'tta_model.type']
    parts += ['param_scheduler.0.gamma', 'auto_scale_lr.enable', 'test_cfg.fp16', 'compile']
    parts += ['train_cfg.max_epochs', 'train_dataloader.batch_size']
    # These are about speed in a data loader, but not elsewhere.
    parts += ['custom_hooks.0.num_workers', 'model.device']
    keys += [changed(**{part: 'a'}) for part in parts]
    assert len(set(keys)) == len(keys)


def test_a_file_in_one_root_within_another_is_named_from_the_inner_one():
    outer, inner = {'a.dataset.data_root': '/data'}, {'b.dataset.data_root': '/data/cifar10'}
    file = {'custom_hooks.0.human': '/data/cifar10/meta/human.npy'}
    for roots in (outer | inner, inner | outer):
        kept = portable_settings({**roots, **file})
        assert kept['custom_hooks.0.human'] == 'meta/human.npy'


def test_a_loss_that_gets_a_new_option_keeps_the_keys_of_its_runs():
    loss = {'model.head.loss.type': 'OLSLoss', 'model.head.loss.num_classes': 5}
    defaults = {'model.head.loss.alpha': 0.5, 'model.head.loss.freeze_confidence': None}
    key = portable_key({**SETTINGS, **loss})
    assert key == portable_key({**SETTINGS, **loss, **defaults})
    assert key != portable_key({**SETTINGS, **loss, 'model.head.loss.alpha': 0.3})
    assert key != portable_key({**SETTINGS, **loss, 'model.head.loss.num_classes': 6})
    # What another class takes by default is not known on every host.
    host = {'model.head.loss.type': 'CrossEntropyLoss', 'model.head.loss.num_classes': 5}
    assert portable_key({**SETTINGS, **host}) != portable_key({**SETTINGS, **host, **defaults})


def test_what_a_row_says_about_a_run_names_no_folder_of_the_machine():
    options = ['a.lr=0.1', 'init_cfg.checkpoint=/data/w/net.pth', "files=['/a/b.txt','c/d']"]
    shown = shlex.join(['a.lr=0.1', 'init_cfg.checkpoint=net.pth', "files=['b.txt','c/d']", 'amp'])
    assert portable_options([*options, 'amp']) == shown
    config = mmdet_ols.config_path('yolo_ols_voc.py')
    assert portable_config(config) == 'configs/yolo_ols_voc.py'
    assert portable_config('/nowhere/mine.py') == 'mine.py'
