"""The shipped configs: pairs differ in the loss alone, and every one of them trains."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmdet.testing import demo_mm_inputs
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

import mmdet_ols
from mmdet_ols.datasets.demo_voc import CLASSES

CONFIGS = sorted(path.name for path in (Path(__file__).parents[1] / 'configs').glob('*.py'))


@pytest.fixture(autouse=True)
def _own_data(tmp_path, monkeypatch):
    """Your own data, of three classes, for the configs that read their names from them."""
    (tmp_path / 'Annotations').mkdir()
    box = '<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>'
    objects = ''.join(f'<object><name>{name}</name>{box}</object>' for name in 'cab')
    (tmp_path / 'Annotations/1.xml').write_text(f'<annotation>{objects}</annotation>')
    monkeypatch.setenv('DATA_ROOT', str(tmp_path))


def read(name):
    return Config.fromfile(mmdet_ols.config_path(name))


def build(cfg):
    """The model with random weights, the same for every config of one architecture."""
    register_all_modules(init_default_scope=False)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        cfg.model.backbone.init_cfg = None
        model = MODELS.build(cfg.model)
        model.init_weights()
    return model


def losses(model, num_classes):
    torch.manual_seed(0)
    batch = demo_mm_inputs(2, [[3, 64, 96], [3, 64, 96]], num_classes=num_classes)
    packed = model.data_preprocessor(batch, training=True)
    return model.parse_losses(model(**packed, mode='loss'))


@pytest.mark.parametrize('data', ['voc', 'own'])
@pytest.mark.parametrize('method', ['ols', 'ls'])
def test_a_method_differs_from_its_baseline_in_the_loss_alone(method, data):
    changed, baseline = read(f'yolo_{method}_{data}.py').to_dict(), read(f'yolo_hard_{data}.py')
    baseline = baseline.to_dict()
    if method == 'ols':
        loss = changed['model']['bbox_head'].pop('loss_cls')
        hard_loss = baseline['model']['bbox_head'].pop('loss_cls')
        assert loss.pop('type') == 'OLSLoss' and hard_loss.pop('type') == 'CrossEntropyLoss'
        assert loss.pop('num_classes') == baseline['model']['bbox_head']['num_classes']
        assert loss == {key: hard_loss[key] for key in loss}
        assert changed['default_hooks'].pop('ols') == dict(type='OLSHook')
        assert changed.pop('custom_imports')['imports'] == ['mmdet_ols']
    else:
        assert changed['model']['bbox_head'].pop('one_hot_smoother') == 0.1
    assert changed == baseline


@pytest.mark.parametrize('data', ['voc', 'own'])
def test_ols_with_alpha_1_trains_as_the_hard_labels_do(data):
    """Through the whole detector: the same losses and the same gradients."""
    models = [build(read(f'yolo_hard_{data}.py'))]
    cfg = read(f'yolo_ols_{data}.py')
    cfg.model.bbox_head.loss_cls.alpha = 1.0
    models.append(build(cfg))
    values = []
    for model in models:
        total, parts = losses(model, model.bbox_head.num_classes)
        total.backward()
        values.append(parts)
    torch.testing.assert_close(dict(values[1]), dict(values[0]))
    for mine, hosts in zip(models[1].parameters(), models[0].parameters()):
        torch.testing.assert_close(mine.grad, hosts.grad)
    assert models[1].bbox_head.loss_cls.sample_count.sum() > 0


@pytest.mark.parametrize('name', CONFIGS)
def test_every_config_builds_and_takes_a_step(name):
    model = build(read(name))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    before, _ = losses(model, model.bbox_head.num_classes)
    before.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    after, _ = losses(model, model.bbox_head.num_classes)
    assert after < before


@pytest.mark.parametrize('name', CONFIGS)
def test_augmented_tests_give_the_merging_what_it_needs(name):
    cfg = read(name)
    (pack,) = cfg.tta_pipeline[-1].transforms[-1]
    assert set(pack.meta_keys) == {*cfg.test_pipeline[-1].meta_keys, 'flip', 'flip_direction'}
    sizes = [step.scale[0] for step in cfg.tta_pipeline[-1].transforms[0]]
    assert min(sizes) <= cfg.test_pipeline[1].scale[0] <= max(sizes)


def test_classes_are_those_of_the_data():
    assert read('yolo_ols_own.py').metainfo.classes == ('a', 'b', 'c')
    assert tuple(read('yolo_ols_demo.py').classes) == CLASSES
    with pytest.raises(FileNotFoundError, match=r"yolo_ols_demo\.py.*but got 'yolo.py'"):
        mmdet_ols.config_path('yolo.py')


def test_a_config_elsewhere_can_inherit_by_the_installed_path(tmp_path):
    config = tmp_path / 'mine.py'
    config.write_text("_base_ = [__import__('mmdet_ols').config_path('yolo_ols_voc.py')]\n")
    assert Config.fromfile(config).model.bbox_head.loss_cls.type == 'OLSLoss'
