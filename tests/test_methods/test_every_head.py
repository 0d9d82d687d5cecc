"""The table 'Every head' of docs/detectors.md: a head trains with another loss, or is refused."""

from __future__ import annotations

import pytest
import torch
from mmengine.config import Config
from tiny_models import NUM_CLASSES, build, read_host, shrink, train_step
from torch.testing import assert_close

from mmdet_ols import OLSLoss, apply_method

slow = pytest.mark.slow
#: Config -> number of classification losses in it.
DETECTORS = {
    'yolo/yolov3_mobilenetv2_8xb24-320-300e_coco.py': 1,
    'yolox/yolox_s_8xb8-300e_coco.py': 1,
    'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py': 1,
    'cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py': 3,
    'retinanet/retinanet_r50_fpn_1x_coco.py': 1,
    'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py': 1,
    'atss/atss_r50_fpn_1x_coco.py': 1,
    'detr/detr_r50_8xb2-150e_coco.py': 1,
    'dino/dino-4scale_r50_8xb2-12e_coco.py': 1,
    'foveabox/fovea_r50_fpn_4xb4-1x_coco.py': 1,
    'grid_rcnn/grid-rcnn_r50_fpn_gn-head_2x_coco.py': 1,
    'mask2former/mask2former_r50_8xb2-lsj-50e_coco.py': 1,
    'gfl/gfl_r50_fpn_1x_coco.py': 1,
    'rtmdet/rtmdet_tiny_8xb32-300e_coco.py': 1,
}
SLOW_DETECTORS = {
    'paa/paa_r50_fpn_1x_coco.py': 1,
    'fsaf/fsaf_r50_fpn_1x_coco.py': 1,
    'conditional_detr/conditional-detr_r50_8xb2-50e_coco.py': 1,
    'deformable_detr/deformable-detr_r50_16xb2-50e_coco.py': 1,
    'dab_detr/dab-detr_r50_8xb2-50e_coco.py': 1,
    'ddq/ddq-detr-4scale_r50_8xb2-12e_coco.py': 1,
    'sparse_rcnn/sparse-rcnn_r50_fpn_1x_coco.py': 2,
    'queryinst/queryinst_r50_fpn_1x_coco.py': 2,
    'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py': 1,
    'double_heads/dh-faster-rcnn_r50_fpn_1x_coco.py': 1,
    'libra_rcnn/libra-faster-rcnn_r50_fpn_1x_coco.py': 1,
    'dynamic_rcnn/dynamic-rcnn_r50_fpn_1x_coco.py': 1,
    'pisa/faster-rcnn_r50_fpn_pisa_1x_coco.py': 1,
    'pisa/retinanet-r50_fpn_pisa_1x_coco.py': 1,
    'sabl/sabl-faster-rcnn_r50_fpn_1x_coco.py': 1,
    'sabl/sabl-cascade-rcnn_r50_fpn_1x_coco.py': 3,
    'sabl/sabl-retinanet_r50_fpn_1x_coco.py': 1,
    'reppoints/reppoints-moment_r50_fpn_1x_coco.py': 1,
    'yolof/yolof_r50-c5_8xb8-1x_coco.py': 1,
    'guided_anchoring/ga-retinanet_r50-caffe_fpn_1x_coco.py': 1,
    'libra_rcnn/libra-retinanet_r50_fpn_1x_coco.py': 1,
    'dyhead/atss_r50_fpn_dyhead_1x_coco.py': 1,
    'yolact/yolact_r50_1xb8-55e_coco.py': 1,
    'solo/solo_r50_fpn_1x_coco.py': 1,
    'condinst/condinst_r50_fpn_ms-poly-90k_coco_instance.py': 1,
    'maskformer/maskformer_r50_ms-16xb1-75e_coco.py': 1,
    'ld/ld_r50-gflv1-r101_fpn_1x_coco.py': 1,
    'rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py': 1,
}
#: Config -> what the message names: the head, and why it cannot.
REFUSED = {
    'ssd/ssd300_coco.py': r'SSDHead \(model\.bbox_head\).*cross entropy by itself',
    'pisa/ssd300_pisa_coco.py': r'PISASSDHead .*cross entropy by itself',
    'cornernet/cornernet_hourglass104_10xb5-crop511-210e-mstest_coco.py': 'CornerHead.*heat maps',
    'centripetalnet/centripetalnet_hourglass104_16xb6-crop511-210e-mstest_coco.py': (
        'CentripetalHead.*heat maps'
    ),
    'centernet/centernet_r18-dcnv2_8xb16-crop512-140e_coco.py': 'CenterNetHead.*heat maps',
    'centernet/centernet-update_r50_fpn_8xb8-amp-lsj-200e_coco.py': 'CenterNetUpdateHead.*heat map',
    'free_anchor/freeanchor_r50_fpn_1x_coco.py': 'FreeAnchorRetinaHead.*never calls it',
    'autoassign/autoassign_r50-caffe_fpn_1x_coco.py': 'AutoAssignHead.*never calls it',
    'tood/tood_r50_fpn_1x_coco.py': 'TOODHead.*makes probabilities of its scores',
    'vfnet/vfnet_r50_fpn_1x_coco.py': 'VFNetHead.*varifocal loss',
    'ghm/retinanet_r50_fpn_ghm-1x_coco.py': r'RetinaHead.*GHMC.*is what the model is about',
    'seesaw_loss/mask-rcnn_r50_fpn_seesaw-loss_random-ms-2x_lvis-v1.py': (
        r'Shared2FCBBoxHead \(model\.roi_head\.bbox_head\).*SeesawLoss'
    ),
    'crowddet/crowddet-rcnn_r50_fpn_8xb2-30e_crowdhuman.py': (
        'MultiInstanceBBoxHead.*background as class 0'
    ),
    'deformable_detr/deformable-detr-refine-twostage_r50_16xb2-50e_coco.py': (
        'DeformableDETRHead.*two-stage form.*class 0.*as_two_stage=False'
    ),
    'grounding_dino/grounding_dino_r50_scratch_8xb2_1x_coco.py': 'GroundingDINOHead.*words',
    'glip/glip_atss_swin-t_a_fpn_dyhead_16xb2_ms-2x_funtune_coco.py': 'ATSSVLFusionHead.*words',
    'v3det/faster_rcnn_r50_fpn_8x4_sample1e-3_mstrain_v3det_2x.py': 'CrossEntropyCustomLoss',
    'rpn/rpn_r50_fpn_1x_coco.py': r'model \(RPN\) must have a head that learns classes',
}


def params(configs, marks=()):
    return [
        pytest.param(path, count, marks=marks, id=path.partition('_')[0])
        for path, count in configs.items()
    ]


def read_small(path):
    cfg = shrink(read_host(path))
    if 'panoptic_head' in cfg.model:  # they count things and stuff
        cfg.model.panoptic_head.update(num_things_classes=2, num_stuff_classes=1)
        cfg.model.panoptic_head.loss_cls.class_weight = [1.0, 2.0, 1.0, 0.1]
    if 'teacher_config' in cfg.model:
        teacher = dict(model=read_small('gfl/gfl_r50_fpn_1x_coco.py').model)
        cfg.model.update(teacher_config=teacher, teacher_ckpt=None)
    return cfg


def assert_same_step(ours, host):
    """The same losses exactly, and the same gradients up to rounding on their way back."""
    (losses, gradients), (host_losses, host_gradients) = train_step(ours), train_step(host)
    assert_close(losses, host_losses)
    assert any('cls' in key and value > 0 for key, value in losses.items())
    assert gradients.keys() == host_gradients.keys()
    largest = max(g.abs().max().item() for g in host_gradients.values() if g is not None)
    for name, gradient in host_gradients.items():
        assert_close(gradients[name], gradient, rtol=1e-3, atol=1e-6 * largest, msg=name)


@pytest.mark.parametrize(('path', 'count'), params(DETECTORS) + params(SLOW_DETECTORS, slow))
def test_with_alpha_1_a_detector_trains_as_with_hard_labels(path, count):
    cfg = read_small(path)
    ours, hard = build(apply_method(cfg, 'ols', alpha=1)), build(apply_method(cfg, 'hard'))
    losses = [module for module in ours.modules() if isinstance(module, OLSLoss)]
    assert len(losses) == count
    for loss in losses:  # which alpha=1 must not read
        loss.soft_labels.copy_(torch.rand_like(loss.soft_labels).softmax(-1))
    assert_same_step(ours, hard)
    for loss in losses:
        assert loss.num_classes == NUM_CLASSES and loss.sample_count.sum() > 0


@pytest.mark.parametrize(
    'path', ['paa/paa_r50_fpn_1x_coco.py', 'pisa/faster-rcnn_r50_fpn_pisa_1x_coco.py']
)
def test_only_what_is_trained_on_teaches_where_a_head_tries_its_loss_out(path):
    """PAA chooses its samples by what they cost, and PISA weighs them by it."""
    model, calls = build(apply_method(read_small(path), 'ols')), []
    (loss,) = (module for module in model.modules() if isinstance(module, OLSLoss))
    loss.register_forward_hook(lambda module, args, loss: calls.append(args))
    train_step(model)
    assert len(calls) > 1
    _, label, weight = calls[-1]
    assert loss.sample_count.sum() == ((label < NUM_CLASSES) & (weight != 0)).sum() > 0


@pytest.mark.parametrize(
    'path',
    [
        'yolo/yolov3_mobilenetv2_8xb24-320-300e_coco.py',
        'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
        'fsaf/fsaf_r50_fpn_1x_coco.py',
        'detr/detr_r50_8xb2-150e_coco.py',
        'mask2former/mask2former_r50_8xb2-lsj-50e_coco.py',
    ],
)
def test_hard_is_the_config_as_it_stands_where_nothing_smooths(path, said):
    cfg = read_small(path)
    assert_same_step(build(apply_method(cfg, 'hard')), build(cfg))
    assert said == []


@pytest.mark.parametrize('path', REFUSED)
def test_a_head_that_cannot_is_refused_by_name(path, said):
    cfg = read_host(path)
    with pytest.raises(ValueError, match=f'(?s){REFUSED[path]}'):
        apply_method(cfg, 'ols')
    apply_method(cfg, 'hard')  # the baseline of a comparison of other things stays possible
    assert all('stays as it is' in message for message in said)
    assert bool(said) == (not path.startswith('rpn/'))  # which has no head of classes at all


def test_one_hot_smoother_is_undone(said):
    cfg = read_small('yolo/yolov3_mobilenetv2_8xb24-320-300e_coco.py')
    smoothed = Config(cfg.to_dict())
    smoothed.model.bbox_head.one_hot_smoother = 0.1
    assert apply_method(smoothed, 'hard').model == apply_method(cfg, 'hard').model
    (message,) = said
    assert 'YOLOV3Head' in message and 'one_hot_smoother=0.1 is undone' in message
