"""Methods that know each sample: what they change in a config, and what they refuse."""

from __future__ import annotations

import re

import pytest
from mmengine.config import Config
from tiny_models import read_host
from toy_images import classifier, loader

import mmdet_ols
from mmdet_ols import apply_method

METHODS = dict(
    m_correction=('MCorrectionLoss', 'MCorrectionClassifier', 106),
    pencil=('PencilLoss', 'SampleClassifier', 65),
    deep_self_learning=('DeepSelfLearningLoss', 'SampleClassifier', 100),
)
EVERY_METHOD = pytest.mark.parametrize('method', METHODS)


@pytest.fixture(scope='module')
def base():
    return Config.fromfile(mmdet_ols.config_path('resnet56_hard_cifar100.py'))


@EVERY_METHOD
def test_loss_classifier_data_and_hook_are_changed(base, method, tmp_path):
    """300 epochs: the sources' stages are stretched over them."""
    loss, model, start = METHODS[method]
    cfg = apply_method(base, method)
    assert (cfg.model.head.loss.type, cfg.model.type) == (loss, model)
    assert cfg.model.head.loss.num_classes == 100
    assert cfg.model.head.loss.correct_from == start
    assert cfg.train_dataloader.dataset.type == 'NumberedDataset'
    assert cfg.train_dataloader.dataset.dataset == base.train_dataloader.dataset
    assert cfg.default_hooks.samples == dict(type='SampleStateHook')
    cfg.dump(tmp_path / 'config.py')
    again = Config.fromfile(tmp_path / 'config.py')
    assert again.to_dict() == cfg.to_dict()
    assert apply_method(again, 'hard').to_dict() == apply_method(base, 'hard').to_dict()
    both = apply_method(base, f'cutout:size=8+{method}')
    assert both.model.head.loss == cfg.model.head.loss
    other = apply_method(cfg, 'ols')
    assert other.to_dict() == apply_method(base, 'ols').to_dict()


def test_epochs_of_the_sources_are_options(base):
    loss = apply_method(base, 'pencil:correct_from=70,correct_until=200').model.head.loss
    assert (loss.correct_from, loss.correct_until) == (70, 200)
    loss = apply_method(base, 'pencil:correct_from=0,correct_until=0.29').model.head.loss
    assert (loss.correct_from, loss.correct_until) == (0, 87)
    assert apply_method(base, 'm_correction:start=0').model.head.loss.correct_from == 1


def test_no_stage_is_left_out_of_a_short_training(base):
    """70/320 of 4 epochs are less than one, without which random weights would correct labels."""
    short = Config(base.to_dict())
    starts = {}
    for epochs in (4, 3):
        short.train_cfg.max_epochs = epochs
        for method in ('m_correction', 'deep_self_learning', 'pencil:correct_until=2'):
            starts[epochs, method] = apply_method(short, method).model.head.loss.correct_from
    assert set(starts.values()) == {1}
    with pytest.raises(ValueError, match='they are 1 and 1: set them further apart, or train lon'):
        apply_method(short, 'pencil')
    assert apply_method(short, 'pencil:correct_from=0').model.head.loss.correct_from == 0


@pytest.mark.parametrize(
    'method, message',
    [
        ('m_correction:start=300', r'from 1 to 299, or the stage never starts, but got 300'),
        ('pencil:correct_until=320', r'`correct_until` of pencil must lie within the 300 epochs'),
        ('pencil:correct_from=200,correct_until=100', 'must come after `correct_from`'),
        ('deep_self_learning:start=-1', r'a share of the epochs below 1 .* must be at least 0'),
        ('deep_self_learning:start=1.5', 'a share below 1 or a whole number'),
        ('m_correction:wrong_by=step', r'LinearClsHead.*`wrong_by` must be one of'),
        ('pencil:label_lr=0', r'LinearClsHead.*`label_lr` must be above 0'),
        ('deep_self_learning:share=2', r'LinearClsHead.*`share`, the share of the corrected'),
        ('ols+pencil', 'must change different things'),
    ],
)
def test_bad_options_are_refused(base, method, message):
    with pytest.raises(ValueError, match=f'(?s){message}'):
        apply_method(base, method)


def small(**changes):
    cfg = Config(
        dict(
            default_scope='mmpretrain',
            model=classifier(),
            train_dataloader=loader(),
            train_cfg=dict(by_epoch=True, max_epochs=9),
        )
    )
    cfg.merge_from_dict(changes)
    return cfg


def test_pencils_step_size_belongs_to_a_batch_size(said):
    cfg = small()
    for batch_size, option, message in (
        (8, '', 'moves a label 16 times as far .*pencil:label_lr=37.5'),
        (8, ':label_lr=37.5', None),
        (128, '', None),
    ):
        cfg.train_dataloader.batch_size = batch_size
        apply_method(cfg, f'pencil{option}')
        assert len(said) == (message is not None)
        if message:
            assert re.search(message, said.pop())


@EVERY_METHOD
def test_what_it_is_not_defined_for_is_named(method):
    apply_method(small(), method)
    mixing = {'model.train_cfg': dict(augments=dict(type='Mixup', alpha=0.8))}
    augments = dict(augments=[dict(type='CutMix')])
    batch = {'model.data_preprocessor.batch_augments': augments}
    schedule = [dict(action_epoch=2, batch_augments=augments)]
    late = dict(type='SwitchRecipeHook', schedule=schedule)
    for changes, message in (
        (mixing, 'Mixup mixes the images of a batch'),
        (batch, 'CutMix mixes the images of a batch'),
        ({'custom_hooks': [late]}, 'CutMix mixes .* from the schedule .* at epoch 2'),
        ({'train_cfg': dict(by_epoch=False, max_iters=9, _delete_=True)}, 'counts none'),
        ({'model.head.loss.use_sigmoid': True}, 'takes sigmoid scores'),
        ({'train_cfg.max_epochs': 1}, 'never starts|must come after'),
        ({'train_cfg.max_epochs': 1, **mixing}, 'Mixup mixes the images of a batch'),
    ):
        with pytest.raises(ValueError, match=message):
            apply_method(small(**changes), method)
    if method == 'm_correction':
        with pytest.raises(ValueError, match='cal_acc=True: remove it'):
            apply_method(small(**{'model.head.cal_acc': True}), method)
    cfg = small()
    cfg.pop('train_dataloader')
    with pytest.raises(ValueError, match='has no `train_dataloader`'):
        apply_method(cfg, method)
    detector = read_host('faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py')
    with pytest.raises(ValueError, match="MMPretrain's classifiers of one head only"):
        apply_method(detector, method)
    cfg = small()
    loss = dict(type='mmpretrain.CrossEntropyLoss')
    cfg.model = dict(type='TimmClassifier', model_name='resnet18', num_classes=3, loss=loss)
    with pytest.raises(ValueError, match="must be MMPretrain's ImageClassifier"):
        apply_method(cfg, method)
