"""Every head of the gallery: it trains as a per-sample loop says, and with alpha=1 as its base."""

from __future__ import annotations

import re
from copy import deepcopy
from pathlib import Path
from uuid import uuid4

import pytest
import torch
from mmdet.models import DETRHead
from mmdet.testing import demo_mm_inputs
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from naive_loss import EPSILON, NaiveLoss
from torch import nn
from torch.testing import assert_close
from torch.utils.data import DataLoader

import mmdet_ols
from mmdet_ols import OLSLoss
from mmdet_ols.checks.losses import check_losses
from mmdet_ols.core import SoftLabels

GALLERY = {
    'yolov3_ols.py': 'yolo/yolov3_d53_8xb8-ms-608-273e_coco.py',
    'yolox_ols.py': 'yolox/yolox_s_8xb8-300e_coco.py',
    'faster_rcnn_ols.py': 'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
    'cascade_rcnn_ols.py': 'cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py',
    'retinanet_ols.py': 'retinanet/retinanet_r50_fpn_1x_coco.py',
    'fcos_ols.py': 'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py',
    'atss_ols.py': 'atss/atss_r50_fpn_1x_coco.py',
    'gfl_ols.py': 'gfl/gfl_r50_fpn_1x_coco.py',
    'rtmdet_ols.py': 'rtmdet/rtmdet_s_8xb32-300e_coco.py',
}
#: Heads without a config of ours that call their loss in a way of their own.
OTHERS = (
    'detr/detr_r50_8xb2-150e_coco.py',  # class weights with one of their own for the background
    'paa/paa_r50_fpn_1x_coco.py',  # asks for element-wise losses first, to choose its samples
    'fsaf/fsaf_r50_fpn_1x_coco.py',  # one weight a score, element-wise losses
    'foveabox/fovea_r50_fpn_4xb4-1x_coco.py',  # another gamma and balance
)
HEADS = pytest.mark.parametrize('name', GALLERY)
NUM_CLASSES, IMAGE, CHANNELS = 3, 64, 8


def read(name):
    return Config.fromfile(mmdet_ols.config_path(f'heads/{name}'))


def read_host(path):
    """A config of MMDetection's own."""
    return Config.fromstring(f"_base_ = 'mmdet::{path}'", '.py')


def class_heads(model):
    """The parts of a model's config that name its classes: one, or one a stage."""
    heads = model.bbox_head if 'bbox_head' in model else model.roi_head.bbox_head
    return heads if isinstance(heads, list) else [heads]


def as_ols(loss, num_classes):
    """A loss of MMDetection's, turned into ours."""
    kind = loss.pop('type')
    if kind == 'FocalLoss':
        loss.balance = loss.pop('alpha')
    elif kind == 'QualityFocalLoss':
        loss.quality_beta = loss.pop('beta')
    else:
        loss.background = not loss.get('use_sigmoid', False)
    loss.update(type='OLSLoss', num_classes=num_classes)


# --- The configs ---------------------------------------------------------------------------------


def test_the_gallery_is_whole():
    folder = Path(mmdet_ols.config_path('heads/fcos_ols.py')).parent
    assert {path.name for path in folder.glob('*.py')} == set(GALLERY)


@HEADS
def test_differs_from_its_base_in_the_loss_and_the_hook_alone(name):
    changed, base = read(name), read_host(GALLERY[name])
    check_losses(changed)
    assert changed.pop('custom_imports').imports == ['mmdet_ols']
    assert changed.default_hooks.pop('ols') == dict(type='OLSHook')
    defaults = dict(use_sigmoid=False, background=False, loss_weight=1.0)
    for head, base_head in zip(class_heads(changed.model), class_heads(base.model)):
        ours, host = head.pop('loss_cls'), base_head.pop('loss_cls')
        as_ols(host, head.num_classes)
        assert {**defaults, **ours} == {**defaults, **host}
    assert changed.to_dict() == base.to_dict()


@HEADS
def test_classes_changed_in_the_head_alone_are_an_error(name):
    cfg = read(name)
    for head in class_heads(cfg.model):
        head.num_classes = 7
    with pytest.raises(ValueError, match=r'set num_classes=7 in the loss'):
        check_losses(cfg)


#: The other methods: a setting in which each is the head's own loss, and one in which it is not.
OTHER_METHODS = {
    'LSLoss': (dict(epsilon=0.0), {}),
    'BootstrapLoss': (dict(beta=1.0), {}),
    'DisturbLabelLoss': (dict(rate=0.0), dict(rate=1.0)),  # the default may miss the few positives
    'SCELoss': (dict(alpha=1.0, beta=0.0), {}),
    'TfKDRegLoss': (dict(alpha=0.0), {}),
    'OLSSingleLoss': (dict(alpha=1.0), {}),
    'OLSSparseLoss': (dict(alpha=1.0, top_m=2), dict(top_m=2)),
}


# --- The heads, alone on random feature maps -----------------------------------------------------


def build_head(model, change=lambda loss: None):
    """The head of a detector's config with few channels; the same random weights every time.

    Args:
        model: `model` of a config.
        change: What is done to the config of each classification loss.
    """
    model = deepcopy(model)
    two_stage = 'roi_head' in model
    for cfg in class_heads(model):
        cfg.num_classes = NUM_CLASSES
        if two_stage:
            cfg.update(in_channels=CHANNELS, fc_out_channels=32)
        elif cfg.type == 'YOLOV3Head':
            cfg.update(in_channels=[CHANNELS] * 3, out_channels=[CHANNELS] * 3)
        elif cfg.type != 'DETRHead':
            # 32 channels are the least that group normalisation of 32 groups takes.
            cfg.update(in_channels=CHANNELS, feat_channels=32, stacked_convs=1)
        if cfg.type == 'RTMDetSepBNHead':
            cfg.norm_cfg.type = 'BN'  # the one for several processes needs a GPU
        if cfg.type == 'RetinaHead':
            cfg.anchor_generator.update(ratios=[1.0], scales_per_octave=2)
        if 'num_classes' in cfg.loss_cls:
            cfg.loss_cls.num_classes = NUM_CLASSES
        change(cfg.loss_cls)
    if two_stage:
        cfg = model.roi_head
        cfg.bbox_roi_extractor.out_channels = CHANNELS
        cfg.train_cfg = model.train_cfg.rcnn
        for stage in cfg.train_cfg if isinstance(cfg.train_cfg, list) else [cfg.train_cfg]:
            stage.sampler.num = 24
    else:
        cfg = model.bbox_head
        cfg.train_cfg = model.get('train_cfg')
    register_all_modules(init_default_scope=False)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        head = MODELS.build(cfg).train()
    for name, value in head.named_parameters():
        if re.search(r'(_cls|convs_pred)(\.\d)?\.weight$', name):
            # Scores as far apart as after some training, where a soft label says something.
            nn.init.normal_(value, std=0.3)
    return head


def compute(head, step):
    """The losses of a head on the images of a step, and the gradient of everything that it saw."""
    torch.manual_seed(step)
    samples = demo_mm_inputs(2, [[3, IMAGE, IMAGE]] * 2, num_items=[6, 5], num_classes=NUM_CLASSES)[
        'data_samples'
    ]
    for sample in samples:
        sample.set_metainfo(dict(pad_shape=(IMAGE, IMAGE), batch_input_shape=(IMAGE, IMAGE)))
        sample.gt_instances.labels = torch.randint(NUM_CLASSES, (len(sample.gt_instances),))
    if hasattr(head, 'prior_generator'):
        strides = [stride for stride, _ in head.prior_generator.strides]
    else:
        strides = [4, 8, 16, 32]
    sizes = [(2, CHANNELS, -(-IMAGE // stride), -(-IMAGE // stride)) for stride in strides]
    if isinstance(head, DETRHead):
        sizes = [(2, 2, 20, head.embed_dims)]  # decoder layers, images, queries, channels
    features = [(3 * torch.randn(size)).requires_grad_() for size in sizes]
    if isinstance(head, DETRHead):
        losses = head.loss(*features, samples)
    elif hasattr(head, 'bbox_roi_extractor'):
        proposals = []
        for _ in samples:
            corner = torch.rand(30, 2) * IMAGE * 0.7
            boxes = torch.cat([corner, corner + 4 + torch.rand(30, 2) * IMAGE * 0.3], 1)
            proposals.append(InstanceData(bboxes=boxes))
        losses = head.loss(features, proposals, samples)
    else:
        losses = head.loss(features, samples)
    losses = {
        key: sum(value) if isinstance(value, list) else value
        for key, value in losses.items()
        if 'loss' in key
    }
    head.zero_grad()
    sum(losses.values()).sum().backward()
    gradients = {name: value.grad for name, value in head.named_parameters()}
    gradients.update((f'feature {i}', value.grad) for i, value in enumerate(features))
    return losses, gradients


def ols_losses(head):
    return [module for module in head.modules() if isinstance(module, OLSLoss)]


def assert_trains_alike(ours, host):
    """Losses and gradients are those of MMDetection's own loss, for any soft labels."""
    for loss in ols_losses(ours):
        loss.soft_labels.copy_(torch.rand_like(loss.soft_labels).softmax(-1))
    for step in range(2):
        losses, gradients = compute(ours, step)
        assert any('loss_cls' in key and value > 0 for key, value in losses.items())
        assert_close((losses, gradients), compute(host, step))
    assert all(loss.sample_count.sum() > 0 for loss in ols_losses(ours))


@HEADS
def test_with_alpha_1_the_head_trains_as_its_base_does(name):
    ours = build_head(read(name).model, lambda loss: loss.update(alpha=1.0))
    assert_trains_alike(ours, build_head(read_host(GALLERY[name]).model))


@pytest.mark.parametrize('path', OTHERS)
def test_with_alpha_1_other_heads_train_as_with_their_own_loss(path):
    def change(loss):
        as_ols(loss, NUM_CLASSES)
        loss.alpha = 1.0

    model = read_host(path).model
    ours = build_head(model, change)
    assert len(ols_losses(ours)) == 1
    assert_trains_alike(ours, build_head(model))


@pytest.mark.parametrize('method', OTHER_METHODS)
@pytest.mark.parametrize('name', ('yolov3_ols.py', 'faster_rcnn_ols.py', 'gfl_ols.py'))
def test_other_methods_train_heads_of_each_kind(method, name):
    model = read(name).model

    def build(settings):
        return build_head(model, lambda loss: loss.update(type=method, **settings))

    neutral, used = OTHER_METHODS[method]
    if method == 'TfKDRegLoss' and name != 'faster_rcnn_ols.py':
        with pytest.raises(ValueError, match='which sigmoid scores are not'):
            build(neutral)
        return
    host = compute(build_head(read_host(GALLERY[name]).model), 0)
    assert_close(compute(build(neutral), 0), host)
    losses, gradients = compute(build(used), 0)
    changed = {key for key, value in host[0].items() if (losses[key] != value).any()}
    assert changed == {'loss_cls'}
    assert all(g is None or g.isfinite().all() for g in gradients.values())


@HEADS
@pytest.mark.parametrize('method', ['OLSLoss', 'LSLoss'])
def test_training_follows_the_reference(method, name):
    """Loss, gradients and state in every step, and in one after a roll-over."""

    def change(loss):
        loss.type = method
        if method == 'LSLoss':
            loss.epsilon = EPSILON

    model = read(name).model
    ours, naive = build_head(model, change), build_head(model, change)
    stages = [module for module in naive.modules() if hasattr(module, 'loss_cls')]
    for stage in stages:
        stage.loss_cls = NaiveLoss(stage.loss_cls)
    references = [stage.loss_cls.reference for stage in stages]
    optimizer = torch.optim.SGD(ours.parameters(), lr=1e-3)
    learning = ols_losses(ours)
    for step in range(3):
        # From the same weights each time: where a ReLU sees almost 0, rounding would tell.
        naive.load_state_dict(ours.state_dict(), strict=False)
        losses, gradients = compute(ours, step)
        assert_close((losses, gradients), compute(naive, step), rtol=1e-4, atol=1e-5)
        optimizer.step()
        for loss, reference in zip(learning, references):
            state = {key: getattr(loss, key) for key in reference.tensors()}
            assert_close(state, reference.tensors(), rtol=1e-4, atol=1e-5)
            if step == 1:
                loss.update_soft_labels()
                reference.roll_over()
                # There is something to tell apart: by far not every row is uniform.
                assert (loss.soft_labels[:NUM_CLASSES] - 1 / loss.num_columns).abs().max() > 0.1
    assert len(learning) == (len(class_heads(model)) if method == 'OLSLoss' else 0)


# --- The whole detectors -------------------------------------------------------------------------


class Images(list):
    def update_skip_type_keys(self, keys):
        """What YOLOX's hook calls near the end, to leave out the mixing of images."""


@HEADS
def test_trains_in_the_runner_with_its_hook(name, tmp_path, monkeypatch):
    rolled = []

    def watched(state):
        rolled.append(state)
        assert state.sample_count.sum() > 0
        return roll_over(state)

    roll_over = SoftLabels.roll_over
    monkeypatch.setattr(SoftLabels, 'roll_over', watched)
    cfg = read(name)
    cfg.model.backbone.init_cfg = None
    if cfg.model.backbone.type == 'ResNet':
        cfg.model.backbone.update(depth=18, style='pytorch')
        cfg.model.neck.in_channels = [64, 128, 256, 512]
    for head in class_heads(cfg.model):
        if 'fc_out_channels' in head:
            head.fc_out_channels = 64
    cfg.model.data_preprocessor.pop('batch_augments', None)
    batch = demo_mm_inputs(2, [[3, 64, 96], [3, 64, 96]], num_classes=80)
    images = Images(dict(zip(batch, values)) for values in zip(*batch.values()))
    with DefaultScope.overwrite_default_scope('mmdet'):
        runner = Runner(
            model=cfg.model,
            work_dir=str(tmp_path),
            experiment_name=uuid4().hex,
            train_dataloader=DataLoader(images, batch_size=2, collate_fn=pseudo_collate),
            train_cfg=dict(cfg.train_cfg, max_epochs=2),
            optim_wrapper=cfg.optim_wrapper,
            default_hooks=dict(cfg.default_hooks, checkpoint=None),  # it writes large files
            custom_hooks=cfg.get('custom_hooks'),
            default_scope='mmdet',
        )
        runner.train()
    losses = ols_losses(runner.model)
    assert len(losses) == len(class_heads(cfg.model))
    assert rolled == [loss.state for loss in losses] * 2
    assert all(value.isfinite().all() for value in runner.model.parameters())
