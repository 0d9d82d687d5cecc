"""MMYOLO's detectors: which take a method, and that they train as its own loss and a loop say."""

from __future__ import annotations

import re
import sys
from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS, MODELS, DefaultScope
from mmyolo_host import mmyolo_configs, needs_mmyolo
from naive_loss import NaiveLoss
from toy_voc import make_voc

from mmdet_ols import BatchRandomScale, apply_method
from mmdet_ols.checks.head_classes import check_head_classes, head_of
from mmdet_ols.checks.losses import check_losses
from mmdet_ols.checks.schedules import schedule_warnings, warn_of_resumed_settings
from mmdet_ols.checks.survey.loaded import decoding
from mmdet_ols.config_tree import nested_dicts
from mmdet_ols.engine.own_classes import fill_in_classes
from mmdet_ols.engine.tta import use_tta
from mmdet_ols.host_imports import host_import_errors

pytestmark = needs_mmyolo

NUM_CLASSES, IMAGE = 3, 64
#: Head -> a config with it.
SUPPORTED = {
    'YOLOv5Head': 'yolov5/yolov5_n-v61_syncbn_fast_8xb16-300e_coco.py',
    'YOLOv7Head': 'yolov7/yolov7_tiny_syncbn_fast_8x16b-300e_coco.py',
    'YOLOv8Head': 'yolov8/yolov8_n_syncbn_fast_8xb16-500e_coco.py',
    'YOLOXHead': 'yolox/yolox_tiny_fast_8xb8-300e_coco.py',
    'RTMDetHead': 'rtmdet/rtmdet_tiny_syncbn_fast_8xb32-300e_coco.py',
}
#: How the paths of configs begin whose heads are refused, and why.
REFUSED = {
    'yolov6': 'VarifocalLoss is what the model is about',
    'ppyoloe': 'VarifocalLoss is what the model is about',
    'yolox/pose': 'also that of the visibility of key points',
    r'yolov[57]\S*_(cat|balloon|balloon_instance|crowdhuman)\.py': 'with a single class it never',
}
#: Heads whose own loss is refused, but which work with cross entropy.
WITH_CROSS_ENTROPY = {
    'YOLOv6Head': 'yolov6/yolov6_n_syncbn_fast_8xb32-400e_coco.py',
    'PPYOLOEHead': 'ppyoloe/ppyoloe_s_fast_8xb32-300e_coco.py',
}
CONFIGS = {**SUPPORTED, **WITH_CROSS_ENTROPY}
HEADS = pytest.mark.parametrize('head', CONFIGS)


def read(path):
    return Config.fromfile(mmyolo_configs() / path)


def build(head_name, method):
    """A model of MMYOLO's own config with a method, narrow and with few classes."""
    cfg = read(CONFIGS[head_name])
    for name in ('backbone', 'neck'):
        part = cfg.model[name]
        part.update({key: 0.125 for key in ('widen_factor', 'deepen_factor') if key in part})
    head = cfg.model.bbox_head
    head.head_module.num_classes = NUM_CLASSES
    if 'widen_factor' in head.head_module:
        head.head_module.widen_factor = 0.125
    if head_name in WITH_CROSS_ENTROPY:
        head.loss_cls = dict(type='mmdet.CrossEntropyLoss', use_sigmoid=True, reduction='sum')
    for _, part in nested_dicts(cfg.model.get('train_cfg')):  # assigners
        if 'num_classes' in part:
            part['num_classes'] = NUM_CLASSES
    cfg = apply_method(cfg, method)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmyolo'):
        return MODELS.build(deepcopy(cfg.model)).train()


def train_step(model, step=0):
    """The losses of a step on made-up images, and the gradients of all parameters.

    They are those of the logarithm of the whole loss: YOLOv8's loss, a sum over all anchors, is so
    large that rounding would tell.
    """
    generator = torch.Generator().manual_seed(step)
    objects = []
    for image in range(2):
        for _ in range(4):
            corner = torch.rand(2, generator=generator) * IMAGE / 2
            size = 10 + torch.rand(2, generator=generator) * IMAGE / 3
            label = torch.randint(NUM_CLASSES, (), generator=generator)
            objects.append([image, label, *corner, *(corner + size)])
    samples = dict(
        bboxes_labels=torch.tensor(objects),
        img_metas=[dict(batch_input_shape=(IMAGE, IMAGE))] * 2,
    )
    images = torch.rand((2, 3, IMAGE, IMAGE), generator=generator)
    model.zero_grad()
    # YOLOv6 and PP-YOLOE begin with an assigner that needs larger images.
    MessageHub.get_current_instance().update_info('epoch', 1000)
    losses = model.loss(images, samples)
    sum(value.sum() for value in losses.values()).log().backward()
    return losses, {name: value.grad for name, value in model.named_parameters()}


def test_its_refusal_of_a_later_mmcv_comes_with_what_to_do(monkeypatch):
    monkeypatch.delitem(sys.modules, 'mmyolo', raising=False)
    monkeypatch.setattr('mmcv.__version__', '2.3.6')
    remedy = r'MMCV==2\.3\.6 .* raise mmcv_maximum_version in that file'
    with pytest.raises(ImportError, match=remedy), host_import_errors():
        import mmyolo  # noqa: F401


# --- The configs ---------------------------------------------------------------------------------


def all_configs():
    """Every config that MMYOLO ships and that has a model of its own."""
    folder = mmyolo_configs()
    paths = [path.relative_to(folder) for path in sorted(folder.rglob('*.py'))]
    others = 'razor|rtmdet/cspnext_imagenet_pretrain|rtmdet/distillation'  # need other packages
    skipped = re.compile(rf'^(_base_|deploy|{others})/|_tta\.py$')
    return [str(path) for path in paths if not skipped.search(str(path))]


def test_each_config_takes_the_method_or_is_refused_for_its_reason():
    taken = 0
    for path in all_configs():
        cfg = read(path)
        reasons = [reason for start, reason in REFUSED.items() if re.match(start, path)]
        if reasons:
            with pytest.raises(ValueError, match=reasons[0]):
                apply_method(cfg, 'ols')
            continue
        changed = apply_method(cfg, 'ols')
        before, after = cfg.model.bbox_head, changed.model.bbox_head
        assert after.loss_cls.type == 'OLSLoss', path
        assert after.loss_cls.num_classes == before.head_module.num_classes
        assert after.loss_obj == before.loss_obj if 'loss_obj' in before else True
        check_losses(changed)
        taken += 1
    assert taken > 40


def test_the_remedy_of_a_refused_loss_names_what_it_needs():
    with pytest.raises(ValueError, match='use_sigmoid=True and the `reduction` of that loss'):
        apply_method(read(WITH_CROSS_ENTROPY['YOLOv6Head']), 'ols')


def test_the_classes_of_the_head_module_count():
    cfg = read(SUPPORTED['YOLOv5Head'])
    assert head_of(cfg).of_detector == {'model.bbox_head.head_module': 80}


def test_another_number_of_classes_is_an_error():
    cfg = apply_method(read(SUPPORTED['YOLOv8Head']), 'ols')
    cfg.model.bbox_head.head_module.num_classes = 7
    with pytest.raises(ValueError, match='set num_classes=7 in the loss'):
        check_losses(cfg)


def test_the_classes_of_annotations_reach_the_assigners(tmp_path):
    data = dict(
        type='mmdet.XMLDataset',
        data_root=str(make_voc(tmp_path / 'own')),
        data_prefix=dict(sub_data_root=''),
    )
    cfg = read(WITH_CROSS_ENTROPY['YOLOv6Head'])
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset = data
    cfg.classes_from_annotations = True
    fill_in_classes(cfg)
    counts = {
        path: part['num_classes'] for path, part in nested_dicts(cfg.model) if 'num_classes' in part
    }
    assert counts == {
        'bbox_head.head_module': 3,
        'train_cfg.assigner': 3,
        'train_cfg.initial_assigner': 3,
    }


def test_an_assigner_for_another_number_of_classes_is_an_error():
    cfg = read(SUPPORTED['YOLOv8Head'])
    assert check_head_classes([], cfg).errors == []
    cfg.model.bbox_head.head_module.num_classes = 7
    (error,) = check_head_classes([], cfg).errors
    assert 'set model.train_cfg.assigner.num_classes=7' in error


def test_augmented_tests_take_their_own_sizes():
    """And not the one that a validation computes for each batch."""
    cfg = read(SUPPORTED['YOLOv5Head'])
    assert cfg.test_dataloader.dataset.batch_shapes_cfg
    use_tta(cfg)
    assert 'batch_shapes_cfg' not in cfg.test_dataloader.dataset
    assert cfg.test_dataloader.dataset.pipeline == cfg.tta_pipeline
    assert cfg.model.type == 'mmdet.DetTTAModel'


def test_augmented_tests_without_a_pipeline_of_their_own_are_an_error():
    cfg = read(SUPPORTED['YOLOv5Head'])
    cfg.pop('tta_pipeline')
    with pytest.raises(ValueError, match="needs `tta_pipeline` .* 'mmyolo'"):
        use_tta(cfg)


def test_boxes_that_masks_refine_need_no_mask():
    """MMYOLO's own LoadAnnotations leaves objects without one out; MMDetection's would fail."""
    cfg = read('yolov8/yolov8_n_mask-refine_syncbn_fast_8xb16-500e_coco.py')
    dataset = cfg.train_dataloader.dataset
    (load,) = [step for step in dataset.pipeline if step.type == 'LoadAnnotations']
    assert load.with_mask
    with DefaultScope.overwrite_default_scope('mmyolo'):
        assert not decoding(dataset).with_masks
        load.type = 'mmdet.LoadAnnotations'
        assert decoding(dataset).with_masks


def test_a_schedule_for_another_length_is_said():
    cfg = read(SUPPORTED['YOLOv5Head'])
    assert schedule_warnings(cfg) == []
    cfg.train_cfg.max_epochs = 50
    (warning,) = schedule_warnings(cfg)
    assert 'until epoch 300, but the training ends after epoch 50' in warning
    assert 'param_scheduler.max_epochs=50' in warning


def test_what_the_hook_schedules_is_no_setting_that_a_resumed_run_has_changed(monkeypatch):
    said = []
    monkeypatch.setattr('mmdet_ols.checks.schedules.warn', said.append)
    cfg = read(SUPPORTED['YOLOv5Head'])
    with DefaultScope.overwrite_default_scope('mmyolo'):
        hook = HOOKS.build(cfg.default_hooks.param_scheduler)

    def run(lr=0.01, hooks=(hook,)):
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr, momentum=0.9)
        wrapper = OptimWrapper(optimizer)
        return SimpleNamespace(optim_wrapper=wrapper, param_schedulers=None, hooks=hooks)

    before = run()
    hook.before_train(before)
    before.optim_wrapper.optimizer.param_groups[0].update(lr=0.004, momentum=0.8)
    content = dict(optimizer=before.optim_wrapper.state_dict())
    warn_of_resumed_settings(run(), content, 'epoch_2.pth')
    assert said == []
    warn_of_resumed_settings(run(lr=0.02), content, 'epoch_2.pth')
    warn_of_resumed_settings(run(hooks=()), content, 'epoch_2.pth')
    assert 'initial_lr of the optimizer is 0.01 there and 0.02' in said[0]
    assert 'lr of the optimizer is 0.004 there and 0.01' in said[1]


# --- A step --------------------------------------------------------------------------------------


@HEADS
def test_with_alpha_1_the_head_trains_as_with_its_own_loss(head):
    ours, host = (build(head, method) for method in ('ols:alpha=1', 'hard'))
    soft_labels = ours.bbox_head.loss_cls.soft_labels
    soft_labels.copy_(torch.rand_like(soft_labels).softmax(-1))
    for step in range(2):
        losses, gradients = train_step(ours, step)
        assert losses['loss_cls'] > 0
        torch.testing.assert_close((losses, gradients), train_step(host, step))
    assert ours.bbox_head.loss_cls.sample_count.sum() > 0


@HEADS
def test_training_follows_a_loop_over_single_samples(head):
    """Loss, gradients and state in every step, and in one after a roll-over."""
    ours, naive = (build(head, 'ols') for _ in range(2))
    naive.bbox_head.loss_cls = NaiveLoss(naive.bbox_head.loss_cls)
    loss, reference = ours.bbox_head.loss_cls, naive.bbox_head.loss_cls.reference
    optimizer = torch.optim.SGD(ours.parameters(), lr=1e-3)
    for step in range(3):
        naive.load_state_dict(ours.state_dict(), strict=False)
        losses, gradients = train_step(ours, step)
        torch.testing.assert_close(
            (losses, gradients), train_step(naive, step), rtol=1e-4, atol=1e-5
        )
        optimizer.step()
        state = {key: getattr(loss, key) for key in reference.tensors()}
        torch.testing.assert_close(state, reference.tensors(), rtol=1e-4, atol=1e-5)
        assert loss.sample_count.sum() > 0
        if step == 1:
            loss.update_soft_labels()
            reference.roll_over()


def test_batches_of_the_fast_collate_function_are_scaled():
    mmyolo_configs()  # which imports it
    sizes = dict(type='BatchRandomScale', sizes=[32])
    cfg = dict(type='YOLOv5DetDataPreprocessor', batch_augments=[sizes])
    with DefaultScope.overwrite_default_scope('mmyolo'):
        preprocessor = MODELS.build(cfg)
    boxes = torch.tensor([[0.0, 2, 8, 16, 24, 32], [1, 0, 0, 4, 40, 64]])
    batch = dict(inputs=torch.rand(2, 3, 64, 48), data_samples=dict(bboxes_labels=boxes.clone()))
    scaled = preprocessor(batch, training=True)
    assert scaled['inputs'].shape == (2, 3, 32, 32)  # 32 x 24, padded
    samples = scaled['data_samples']
    assert samples['img_metas'][0]['batch_input_shape'] == (32, 32)
    assert (samples['bboxes_labels'][:, :2] == boxes[:, :2]).all()
    assert (samples['bboxes_labels'][:, 2:] == boxes[:, 2:] / 2).all()
    more = dict(bboxes_labels=boxes, masks=torch.zeros(2, 64, 48))
    with pytest.raises(ValueError, match='only images and boxes'):
        BatchRandomScale([32])(batch['inputs'], more)
