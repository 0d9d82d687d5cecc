"""The shipped configs: pairs differ only in the loss, and every one of them trains."""

from __future__ import annotations

from pathlib import Path

import mmcv
import numpy as np
import pytest
import torch
from mmdet.testing import demo_mm_inputs
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, DefaultScope

import mmdet_ols
from mmdet_ols.datasets.demo_voc import CLASSES
from mmdet_ols.datasets.tree import leaf_datasets
from mmdet_ols.paper import figures

FOLDER = Path(__file__).parents[1] / 'configs'
#: All but the heads, which have tests of their own.
CONFIGS = sorted(
    str(path.relative_to(FOLDER))
    for path in (*FOLDER.glob('yolo_*.py'), *FOLDER.glob('strategies/*.py'))
)


def read(name):
    return Config.fromfile(mmdet_ols.config_path(name))


def build(cfg):
    """The model with random weights, the same for every config of one architecture."""
    register_all_modules(init_default_scope=False)
    torch.manual_seed(0)
    for augment in cfg.model.data_preprocessor.get('batch_augments') or []:
        augment.sizes = (96,)
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


@pytest.mark.parametrize(
    ('method', 'data', 'paper'),
    [
        ('ols', 'voc', 82.7),
        ('ols', 'own', None),
        ('ls', 'voc', 82.3),
        ('ls', 'own', None),
        ('ls001', 'voc', None),
    ],
)
def test_a_method_differs_from_its_baseline_in_the_loss_alone(method, data, paper):
    changed = read(f'yolo_{method}_{data}.py').to_dict()
    baseline = read(f'yolo_hard_{data}.py').to_dict()
    for cfg, value in ((changed, paper), (baseline, 81.6 if data == 'voc' else None)):
        cell = cfg.pop('paper_cell', None)
        actual = figures(cell) if cell else []
        assert [result['value'] for result in actual] == ([value] if value else [])
    head, hard_head = (cfg['model']['bbox_head'] for cfg in (changed, baseline))
    if method == 'ols':
        loss, hard_loss = head.pop('loss_cls'), hard_head.pop('loss_cls')
        assert loss.pop('type') == 'OLSLoss' and hard_loss.pop('type') == 'CrossEntropyLoss'
        assert loss.pop('num_classes') == hard_head['num_classes']
        assert loss.pop('sigmoid_reading') == 'softmax'  # says how soft labels are made, no more
        assert loss == hard_loss
        assert changed['default_hooks'].pop('ols') == dict(type='OLSHook')
    else:
        assert head.pop('one_hot_smoother') == dict(ls=0.1, ls001=0.01)[method]
        assert hard_head.pop('one_hot_smoother', 0) == 0
    assert changed == baseline


@pytest.mark.parametrize('data', ['voc', 'own'])
def test_ols_with_alpha_1_trains_as_the_hard_labels_do(data):
    """Through the whole detector: the same losses, and the same gradients of its predictions.

    Not of its weights: the network below makes a difference of 1e-3 from one in the last digit.
    """
    models = [build(read(f'yolo_hard_{data}.py'))]
    cfg = read(f'yolo_ols_{data}.py')
    cfg.model.bbox_head.loss_cls.alpha = 1.0
    models.append(build(cfg))
    values, gradients = [], []
    for model in models:
        predictions = []
        model.bbox_head.register_forward_hook(
            lambda *call, into=predictions: into.extend(call[2][0])
        )
        total, parts = losses(model, model.bbox_head.num_classes)
        values.append(dict(parts))
        gradients.append(torch.autograd.grad(total, predictions))
    torch.testing.assert_close(values[1], values[0])
    torch.testing.assert_close(gradients[1], gradients[0])
    assert len(gradients[0]) == 3 and all(gradient.any() for gradient in gradients[0])
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
    (tested,) = leaf_datasets(cfg.test_dataloader.dataset)
    assert tested.pipeline == cfg.test_pipeline
    sizes = [step.scale[0] for step in cfg.tta_pipeline[-1].transforms[0]]
    assert min(sizes) <= cfg.test_pipeline[1].scale[0] <= max(sizes)
    if 'voc' in name:
        assert sizes == ([160, 192, 224] if 'small' in name else [320, 416, 512, 608])


@pytest.mark.parametrize('name', [name for name in CONFIGS if 'own' in name])
def test_the_classes_of_your_own_data_are_left_to_the_tools(name):
    cfg = read(name)
    assert cfg.classes_from_annotations is True
    for split in ('train', 'val', 'test'):
        (dataset,) = leaf_datasets(cfg[f'{split}_dataloader'].dataset)
        assert 'metainfo' not in dataset
    head = cfg.model.bbox_head
    assert head.loss_cls.get('num_classes', head.num_classes) == head.num_classes


@pytest.mark.parametrize('name', CONFIGS)
def test_all_data_of_a_config_lie_below_one_root(name):
    cfg = read(name)
    datasets = [
        dataset
        for split in ('train', 'val', 'test')
        for dataset in leaf_datasets(cfg[f'{split}_dataloader'].dataset)
    ]
    assert {dataset.data_root for dataset in datasets} == {cfg.data_root}


def test_the_demo_knows_its_classes():
    assert tuple(read('yolo_ols_demo.py').classes) == CLASSES


def test_a_config_that_is_not_shipped_is_named():
    with pytest.raises(FileNotFoundError, match=r"yolo_ols_demo\.py.*but got 'yolo.py'"):
        mmdet_ols.config_path('yolo.py')


def test_a_config_elsewhere_can_inherit_by_the_installed_path(tmp_path):
    config = tmp_path / 'mine.py'
    config.write_text("_base_ = [__import__('mmdet_ols').config_path('yolo_ols_voc.py')]\n")
    assert Config.fromfile(config).model.bbox_head.loss_cls.type == 'OLSLoss'


@pytest.fixture
def voc(tmp_path):
    """The VOC config on three images: with a cat and a difficult dog, a difficult dog, nothing."""
    objects = {'both': [('cat', 0), ('dog', 1)], 'difficult': [('dog', 1)], 'none': []}
    edges = ('xmin', 'ymin', 'xmax', 'ymax')
    corners = {'cat': (33, 33, 128, 128), 'dog': (161, 33, 256, 160)}
    root = tmp_path / 'VOC2007'
    for folder in ('Annotations', 'ImageSets/Main', 'JPEGImages'):
        (root / folder).mkdir(parents=True)
    (root / 'ImageSets/Main/trainval.txt').write_text('\n'.join(objects))
    for image, content in objects.items():
        mmcv.imwrite(np.full((160, 320, 3), 90, 'uint8'), root / f'JPEGImages/{image}.jpg')
        nodes = '<size><width>320</width><height>160</height></size>'
        for name, difficult in content:
            box = ''.join(f'<{edge}>{at}</{edge}>' for edge, at in zip(edges, corners[name]))
            nodes += f'<object><name>{name}</name><difficult>{difficult}</difficult>'
            nodes += f'<bndbox>{box}</bndbox></object>'
        (root / f'Annotations/{image}.xml').write_text(f'<annotation>{nodes}</annotation>')
    cfg = read('yolo_hard_voc.py')
    cfg.train_dataloader.dataset.datasets[0].data_root = str(tmp_path)
    return cfg


def test_difficult_objects_are_background_to_the_training(voc):
    """And no image is left out."""
    model = build(voc)
    data = voc.train_dataloader.dataset.datasets[0]
    data.pipeline = [step for step in data.pipeline if step.type != 'MinIoURandomCrop']
    for step in data.pipeline:
        if 'prob' in step:
            step.prob = 0.0
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(data)
    items = [dataset[i] for i in range(3)]
    both, difficult, nothing = (item['data_samples'] for item in items)
    cat = torch.tensor([[32.0, 32, 127, 127]]) * 608 / 320
    torch.testing.assert_close(both.gt_instances.bboxes.tensor, cat)
    assert len(both.ignored_instances) == len(difficult.ignored_instances) == 1
    assert len(difficult.gt_instances) == len(nothing.gt_instances) == 0

    targets = []
    get_targets = model.bbox_head.get_targets
    model.bbox_head.get_targets = lambda *args: targets.append(get_targets(*args)) or targets[0]
    packed = model.data_preprocessor(pseudo_collate(items), training=True)
    total, _ = model.parse_losses(model(**packed, mode='loss'))
    assert total.isfinite()
    ((target_maps, negative_maps),) = targets
    positive = torch.cat([level[..., 4] for level in target_maps], dim=1)
    negative = torch.cat(negative_maps, dim=1)
    assert positive[0].sum() >= 1 and not positive[1:].any()
    assert negative[1:].all()  # on the difficult dog as well


@pytest.mark.parametrize(('name', 'epsilon'), [('yolo_hard_voc.py', 0), ('yolo_ls_voc.py', 0.1)])
def test_label_smoothing_is_uniform_and_for_objects_alone(name, epsilon):
    model = build(read(name))
    single, seen = model.bbox_head.loss_by_feat_single, []

    def watched(pred, target, negative):
        result = single(pred, target, negative)
        (gradient,) = torch.autograd.grad(result[0], pred, retain_graph=True)
        seen.append((target, gradient.permute(0, 2, 3, 1).reshape(target.shape)))
        return result

    model.bbox_head.loss_by_feat_single = watched
    losses(model, 20)
    rows = torch.cat([target[target[..., 4] == 1] for target, _ in seen])[:, 5:]
    assert len(rows) > 0
    expected = torch.full_like(rows, epsilon / 20)
    expected[:, -1] += 1 - epsilon
    torch.testing.assert_close(rows.sort(dim=1).values, expected)
    for target, gradient in seen:
        assert not gradient[target[..., 4] == 0].any()


def test_objectness_has_the_same_focal_weight_for_objects_and_background():
    torch.manual_seed(0)
    logits, targets = torch.randn(4, 50), torch.randint(0, 2, (4, 50)).float()
    mask = torch.randint(0, 2, (4, 50)).float()
    loss = build(read('yolo_hard_voc.py')).bbox_head.loss_conf
    score = logits.sigmoid()
    error = -(targets * score.log() + (1 - targets) * (1 - score).log())
    expected = ((targets - score) ** 2 * error * mask).sum()
    torch.testing.assert_close(loss(logits, targets, weight=mask), expected)
