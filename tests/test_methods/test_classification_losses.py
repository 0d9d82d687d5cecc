"""What the finder takes over from heads and losses, and what it leaves alone."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from mmdet.models import CrossEntropyLoss, FCOSHead, FocalLoss, RetinaHead, RetinaNet
from mmengine.config import Config
from mmengine.model import BaseModel, BaseModule
from mmengine.registry import MODELS, TASK_UTILS, DefaultScope
from mmpretrain.models import LinearClsHead
from mmpretrain.structures import DataSample
from tiny_models import read_host
from torch.testing import assert_close

from mmdet_ols import apply_method
from mmdet_ols.methods import hard_form
from mmdet_ols.methods.classification_losses import find_losses

C = 4


def detector(**head):
    """A config of one dense head."""
    head = {'type': 'RetinaHead', 'num_classes': C, 'in_channels': 8, **head}
    return Config(dict(default_scope='mmdet', model=dict(type='RetinaNet', bbox_head=head)))


def classifier(head, backbone=None, **others):
    """A config of one classifier."""
    backbone = backbone or dict(type='LeNet5')
    model = dict(type='ImageClassifier', backbone=backbone, head=head, **others)
    return Config(dict(default_scope='mmpretrain', model=model))


def linear(loss, **others):
    return dict(type='LinearClsHead', num_classes=C, in_channels=8, loss=loss, **others)


def ours(cfg, **given):
    """The losses of a config after OLS has been applied, without OLS's own options."""
    names = 'num_classes use_sigmoid background reduction loss_weight class_weight bg_cls_weight'
    names += ' ignore_index avg_non_ignore gamma balance quality_beta'
    losses = [loss.config for loss in find_losses(apply_method(cfg, 'ols', **given))]
    assert all(loss.type == 'OLSLoss' for loss in losses)
    return [{key: loss[key] for key in names.split() if key in loss} for loss in losses]


# --- MMDetection: what is taken over -------------------------------------------------------------

TAKEN_OVER = {
    'retinanet/retinanet_r50_fpn_1x_coco.py': dict(
        num_classes=80, use_sigmoid=True, gamma=2.0, balance=0.25
    ),
    'foveabox/fovea_r50_fpn_4xb4-1x_coco.py': dict(
        num_classes=80, use_sigmoid=True, gamma=1.5, balance=0.4
    ),
    'fsaf/fsaf_r50_fpn_1x_coco.py': dict(
        num_classes=80, use_sigmoid=True, gamma=2.0, balance=0.25, reduction='none'
    ),
    'rtmdet/rtmdet-ins_s_8xb32-300e_coco.py': dict(
        num_classes=80, use_sigmoid=True, quality_beta=2.0
    ),
    'yolox/yolox_s_8xb8-300e_coco.py': dict(num_classes=80, use_sigmoid=True, reduction='sum'),
    # It names no loss, so that it has the one of its constructor.
    'grid_rcnn/grid-rcnn_r50_fpn_gn-head_2x_coco.py': dict(
        num_classes=80, use_sigmoid=False, background=True
    ),
    'detr/detr_r50_8xb2-150e_coco.py': dict(
        num_classes=80, use_sigmoid=False, background=True, class_weight=1.0, bg_cls_weight=0.1
    ),
    'conditional_detr/conditional-detr_r50_8xb2-50e_coco.py': dict(
        num_classes=80, use_sigmoid=True, gamma=2.0, balance=0.25, loss_weight=2.0
    ),
    'mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py': dict(
        num_classes=133,
        use_sigmoid=False,
        background=True,
        loss_weight=2.0,
        class_weight=[1.0] * 133 + [0.1],
    ),
    'mask2former_vis/mask2former_r50_8xb2-8e_youtubevis2019.py': dict(
        num_classes=40,
        use_sigmoid=False,
        background=True,
        loss_weight=2.0,
        class_weight=[1.0] * 40 + [0.1],
    ),
    'soft_teacher/soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco.py': dict(
        num_classes=80, use_sigmoid=False, background=True
    ),
    'faster_rcnn/faster-rcnn_r50_fpn_fcos-rpn_1x_coco.py': dict(
        num_classes=80, use_sigmoid=False, background=True
    ),
    'reid/reid_r50_8xb32-6e_mot15train80_test-mot15val20.py': dict(
        num_classes=368, use_sigmoid=False
    ),
}


@pytest.mark.parametrize('path', TAKEN_OVER)
def test_what_the_hosts_loss_was_told_is_taken_over(path):
    defaults = dict(reduction='mean', loss_weight=1.0)
    assert ours(read_host(path)) == [{**defaults, **TAKEN_OVER[path]}]


def test_rarer_settings_are_taken_over_and_written_back():
    rare = dict(ignore_index=255, avg_non_ignore=True, class_weight=[1.0, 2.0, 3.0, 4.0, 0.5])
    loss = dict(type='CrossEntropyLoss', loss_weight=3.0, **rare)
    cfg = detector(loss_cls=loss)
    (taken,) = ours(cfg)
    assert taken == dict(
        num_classes=C,
        use_sigmoid=False,
        background=True,
        reduction='mean',
        loss_weight=3.0,
        **rare,
    )
    assert apply_method(cfg, 'hard').model.bbox_head.loss_cls == dict(
        type='mmdet.CrossEntropyLoss', use_sigmoid=False, reduction='mean', loss_weight=3.0, **rare
    )
    # The hosts take one number for all classes as well.
    cfg = detector(loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True, class_weight=2.0))
    assert ours(cfg)[0]['class_weight'] == [2.0] * C


def test_labels_with_qualities_and_their_losses_belong_together():
    quality = dict(type='QualityFocalLoss', use_sigmoid=True, beta=1.5, loss_weight=3.0)
    head = dict(type='GFLHead', loss_cls=quality)
    (taken,) = ours(detector(**head))
    assert (taken['quality_beta'], taken['loss_weight']) == (1.5, 3.0)
    changed = apply_method(detector(**head), 'ols')
    for cfg in (detector(**head), changed):
        assert apply_method(cfg, 'hard').model.bbox_head.loss_cls == dict(
            type='mmdet.QualityFocalLoss',
            use_sigmoid=True,
            beta=1.5,
            loss_weight=3.0,
            reduction='mean',
        )
    with pytest.raises(ValueError, match=r'RetinaHead .*QualityFocalLoss .*Give it FocalLoss'):
        ours(detector(type='RetinaHead', loss_cls=quality))
    focal = dict(type='FocalLoss', use_sigmoid=True)
    with pytest.raises(ValueError, match=r'GFLHead .*with qualities, which FocalLoss does not'):
        ours(detector(type='GFLHead', loss_cls=focal))
    with pytest.raises(ValueError, match=r'activated=True\) takes probabilities'):
        ours(detector(type='GFLHead', loss_cls=dict(quality, activated=True)))


def test_a_focal_form_without_balance_has_its_counterpart():
    loss = dict(type='OLSLoss', num_classes=C, use_sigmoid=True, gamma=1.5, loss_weight=3.0)
    hard = apply_method(detector(loss_cls=loss), 'hard').model.bbox_head.loss_cls
    assert hard == dict(
        type='mmdet.FocalLoss',
        use_sigmoid=True,
        gamma=1.5,
        alpha=0.5,
        loss_weight=6.0,
        reduction='mean',
    )
    scores, label = torch.randn(5, C), torch.tensor([0, 1, C, 3, C])
    with DefaultScope.overwrite_default_scope('mmdet'):
        assert_close(
            MODELS.build(hard)(scores, label), MODELS.build({**loss, 'alpha': 1})(scores, label)
        )


@pytest.mark.filterwarnings('error:.*background')
@pytest.mark.parametrize(
    'loss', [dict(type='FocalLoss', gamma=2.0), dict(type='CrossEntropyLoss', use_sigmoid=True)]
)
def test_the_sigmoid_scores_of_two_stages_have_a_column_for_the_background(loss):
    cfg = read_host('faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py')
    cfg.model.roi_head.bbox_head.loss_cls = loss
    (taken,) = ours(cfg)
    assert (taken['use_sigmoid'], taken['background']) == (True, True)


UNTOUCHED = {
    'sabl/sabl-faster-rcnn_r50_fpn_1x_coco.py': ('roi_head.bbox_head.loss_bbox_cls', 'rpn_head'),
    'cascade_rpn/cascade-rpn_faster-rcnn_r50-caffe_fpn_1x_coco.py': ('rpn_head',),
    'faster_rcnn/faster-rcnn_r50_fpn_fcos-rpn_1x_coco.py': ('rpn_head',),
    'guided_anchoring/ga-faster-rcnn_r50-caffe_fpn_1x_coco.py': ('rpn_head',),
    'lad/lad_r50-paa-r101_fpn_2xb8_coco_1x.py': ('teacher_bbox_head', 'bbox_head.loss_centerness'),
    'soft_teacher/soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco.py': (
        'detector.rpn_head',
        'semi_train_cfg',
    ),
    'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py': ('roi_head.mask_head', 'rpn_head'),
    'htc/htc_r50_fpn_1x_coco.py': ('roi_head.semantic_head', 'roi_head.mask_head'),
    'solo/solo_r50_fpn_1x_coco.py': ('mask_head.loss_mask',),
}


@pytest.mark.parametrize('path', UNTOUCHED)
def test_proposals_masks_boxes_and_teachers_are_left_alone(path):
    cfg = read_host(path)
    changed = apply_method(cfg, 'ols')
    for place in UNTOUCHED[path]:
        old, new = cfg.model, changed.model
        for key in place.split('.'):
            old, new = old[key], new[key]
        assert new == old


# --- MMPretrain ----------------------------------------------------------------------------------


def samples(labels, rows=False):
    result = []
    for label in labels:
        sample = DataSample()
        if rows:
            sample.set_gt_score(label)
        else:
            sample.set_gt_label(int(label))
        result.append(sample)
    return result


def head_loss(cfg, features, data):
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        head = MODELS.build(dict(cfg.model.head)).train()
    return head.loss(features, data)['loss']


SINGLE = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
HEADS = {
    'LinearClsHead': (dict(in_channels=8), SINGLE),
    'StackedLinearClsHead': (dict(in_channels=8, mid_channels=[5]), SINGLE),
    'VisionTransformerClsHead': (dict(in_channels=8), SINGLE),
    'VigClsHead': (dict(in_channels=8, hidden_dim=5), SINGLE),
    'EfficientFormerClsHead': (dict(in_channels=8, distillation=False), SINGLE),
    'LeViTClsHead': (dict(in_channels=8, distillation=False), SINGLE),
    'ConformerHead': (dict(in_channels=[8, 8]), [SINGLE, SINGLE.flip(1)]),
    'ArcFaceClsHead': (dict(in_channels=8), SINGLE),
    'ClsHead': (dict(), SINGLE[:, :C]),
}


@pytest.mark.parametrize('name', HEADS)
def test_with_alpha_1_a_head_of_mmpretrain_trains_as_with_hard_labels(name):
    arguments, features = HEADS[name]
    head = dict(type=name, num_classes=C, **arguments)
    backbone = dict(type='LeNet5', num_classes=C)
    if name == 'ClsHead':  # whose scores come from the backbone
        head.pop('num_classes')
    cfg = classifier(head, backbone)
    data = samples(torch.arange(6) % C)
    hard, ols = (apply_method(cfg, *method) for method in (['hard'], ['ols:alpha=1']))
    assert ols.model.head.loss.num_classes == C
    expected = head_loss(cfg, (features,), data)
    assert_close(head_loss(hard, (features,), data), expected)
    assert_close(head_loss(ols, (features,), data), expected)
    if name != 'ArcFaceClsHead':  # whose margins need class indices
        rows = samples(torch.rand(6, C).softmax(-1), rows=True)
        assert_close(*(head_loss(config, (features,), rows) for config in (hard, ols)))


@pytest.mark.parametrize('rows', [False, True])
@pytest.mark.parametrize(
    'loss',
    [
        dict(label_smooth_val=0.1),
        dict(label_smooth_val=0.2, mode='classy_vision', loss_weight=2.0),
        dict(label_smooth_val=0.1, use_sigmoid=True),
        dict(label_smooth_val=0.1, mode='multi_label'),
        dict(label_smooth_val=0.1, class_weight=[1.0, 2.0, 3.0, 4.0]),
        dict(label_smooth_val=0.1, use_sigmoid=True, pos_weight=[1.0, 2.0, 3.0, 4.0]),
    ],
)
def test_what_mmpretrain_smooths_is_undone_and_said(loss, rows, said):
    cfg = classifier(linear(dict(type='LabelSmoothLoss', num_classes=C, **loss)))
    hard = apply_method(cfg, 'hard')
    mode = loss.get('mode', 'original')
    assert said == [
        'LinearClsHead (model.head) learns from hard labels now: '
        f'LabelSmoothLoss(label_smooth_val={loss["label_smooth_val"]}, mode={mode!r}) is undone.'
    ]
    label = torch.arange(6) % C
    one_hot = F.one_hot(label, C).float()
    data = samples(one_hot if rows else label, rows)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        torch.manual_seed(0)
        scores = MODELS.build(dict(hard.model.head))((SINGLE,))
    if 'use_sigmoid' in loss or mode == 'multi_label':
        weight = loss.get('pos_weight') and torch.tensor(loss['pos_weight'])
        expected = F.binary_cross_entropy_with_logits(
            scores, one_hot, pos_weight=weight, reduction='sum'
        )
    else:
        weight = loss.get('class_weight') and torch.tensor(loss['class_weight'])
        expected = F.cross_entropy(scores, label, weight=weight, reduction='sum')
    expected = loss.get('loss_weight', 1) * expected / 6
    assert_close(head_loss(hard, (SINGLE,), data), expected)
    assert_close(head_loss(apply_method(cfg, 'ols:alpha=1'), (SINGLE,), data), expected)


def test_single_labels_that_are_mixed_are_no_several_labels(said):
    head = dict(type='MultiLabelLinearClsHead', num_classes=C, in_channels=8)
    softmax = dict(type='CrossEntropyLoss', use_soft=True)
    cfg = classifier(dict(head, loss=softmax))
    assert ours(cfg)[0]['use_sigmoid'] is False
    rows = samples(torch.rand(6, C).softmax(-1), rows=True)
    assert_close(
        head_loss(apply_method(cfg, 'ols:alpha=1'), (SINGLE,), rows),
        head_loss(cfg, (SINGLE,), rows),
    )
    for several in (head, dict(head, type='CSRAClsHead', num_heads=1, lam=0.1)):
        loss = dict(loss=dict(type='CrossEntropyLoss', use_sigmoid=True))
        with pytest.raises(
            ValueError, match=f'{several["type"]} .*several labels at once.*softmax'
        ):
            apply_method(classifier({**several, **loss}), 'ols')


def test_the_number_of_classes_may_stand_in_the_backbone():
    inception = read_host('inception_v3/inception-v3_8xb32_in1k.py', 'mmpretrain')
    assert [loss['num_classes'] for loss in ours(inception)] == [1000]
    vgg = dict(type='VGG', depth=11, num_classes=7)
    assert ours(classifier(dict(type='ClsHead'), vgg))[0]['num_classes'] == 7
    headless = classifier(dict(type='ClsHead'), dict(type='ResNet', depth=18))
    with pytest.raises(ValueError, match=r'ClsHead .*number of classes is not known.*backbone'):
        apply_method(headless, 'ols')


def test_tasks_are_found_below_a_head_of_several_tasks():
    heads = dict(
        a=dict(type='LinearClsHead', num_classes=2), b=dict(type='LinearClsHead', num_classes=3)
    )
    cfg = classifier(dict(type='MultiTaskHead', task_heads=heads, in_channels=8))
    assert [loss['num_classes'] for loss in ours(cfg)] == [2, 3]
    linear_neck = dict(type='LinearClsHead', num_classes=5, in_channels=8)
    blip = Config(
        dict(default_scope='mmpretrain', model=dict(type='Blip2Caption', vision_neck=linear_neck))
    )
    with pytest.raises(ValueError, match='no classification loss was found'):
        apply_method(blip, 'ols')


# --- Configs that name classes of a user's own, or are written in pure Python --------------------


@pytest.fixture
def registered():
    """Registers classes for one test."""
    names = []

    def register(cls):
        MODELS.register_module(module=cls)
        names.append(cls.__name__)
        return cls

    yield register
    for name in names:
        MODELS.module_dict.pop(name)


def test_heads_and_losses_are_known_by_their_base_classes(registered):
    @registered
    class MyHead(FCOSHead):
        def __init__(self, *args, loss_cls=None, **kwargs):
            super().__init__(*args, **kwargs)

    @registered
    class MyRetinaHead(RetinaHead):
        def __init__(self, num_classes=7, **kwargs):
            super().__init__(num_classes, **kwargs)

    @registered
    class MyFocalLoss(FocalLoss):
        def __init__(self, gamma=3.0, **kwargs):
            super().__init__(gamma=gamma, **kwargs)

    loss = dict(type='MyFocalLoss', use_sigmoid=True)
    (taken,) = ours(detector(type='MyHead', loss_cls=loss))
    assert (taken['gamma'], taken['balance']) == (3.0, 0.25)
    cfg = detector(type='MyRetinaHead', loss_cls=loss)
    cfg.model.bbox_head.pop('num_classes')
    assert ours(cfg)[0]['num_classes'] == 7


def test_what_is_not_known_is_refused_and_never_skipped(registered):
    @registered
    class OwnHead(torch.nn.Module):
        pass

    @registered
    class OtherEntropy(CrossEntropyLoss):
        def forward(self, *args, **kwargs):
            return super().forward(*args, **kwargs)

    @registered
    class OwnLoss(torch.nn.Module):
        pass

    entropy = dict(type='CrossEntropyLoss', use_sigmoid=True)
    pixels = dict(type='PSPHead', num_classes=C, loss_decode=dict(type='CrossEntropyLoss'))
    segmenter = Config(dict(model=dict(type='EncoderDecoder', decode_head=pixels)))
    cases = {
        'OwnHead .*derived from no head': detector(type='OwnHead', loss_cls=entropy),
        'NoHead .*not registered.*custom_imports': detector(type='NoHead', loss_cls=entropy),
        'OwnHead .*derived from no head.*set its loss to': classifier(
            dict(linear(dict(type='CrossEntropyLoss')), type='OwnHead')
        ),
        'NoClsHead .*not registered': classifier(dict(linear(entropy), type='NoClsHead')),
        'OtherEntropy computes something else': detector(loss_cls=dict(type='OtherEntropy')),
        'its loss OwnLoss is none that': detector(loss_cls=dict(type='OwnLoss')),
        'its loss NoLoss is not registered': detector(loss_cls=dict(type='NoLoss')),
        'has no argument `wight`.*of a base config.*_delete_=True': detector(
            loss_cls=dict(entropy, wight=1)
        ),
        r'FocalLoss\(use_sigmoid=False\) is none': detector(
            loss_cls=dict(type='FocalLoss', use_sigmoid=False)
        ),
        r'with alpha=25\. Set alpha to a number in \[0, 1\]': detector(
            loss_cls=dict(type='FocalLoss', use_sigmoid=True, alpha=25)
        ),
        'QualityFocalLoss learns the qualities': detector(
            loss_cls=dict(type='QualityFocalLoss', use_sigmoid=True)
        ),
        'Name use_sigmoid=True in loss_cls': detector(loss_cls=dict(type='FocalLoss')),
        'weighs both answers.*pos_weight': classifier(
            linear(dict(type='CrossEntropyLoss', use_sigmoid=True, class_weight=[1.0] * C))
        ),
        'AsymmetricLoss is for samples of several': classifier(linear(dict(type='AsymmetricLoss'))),
        'LabelSmoothLoss needs the argument `label_smooth_val`. Set it': classifier(
            linear(dict(type='LabelSmoothLoss'))
        ),
        'SeesawLoss.*is what the model is about.*take the base config': classifier(
            linear(dict(type='SeesawLoss'))
        ),
        r'PSPHead \(model.decode_head\) .*segmentation.*Take a detector': segmenter,
    }
    for message, cfg in cases.items():
        with pytest.raises(ValueError, match=f'(?s){message}'):
            apply_method(cfg, 'ols')
        assert apply_method(cfg, 'hard').model == cfg.model


def test_a_criterion_is_no_unknown_type():
    class OwnCriterion:
        """As that of DiffusionDet, which is registered where assigners are."""

    TASK_UTILS.register_module(module=OwnCriterion)
    try:
        criterion = dict(type='OwnCriterion', loss_cls=dict(type='FocalLoss', use_sigmoid=True))
        cfg = detector(criterion=criterion, loss_cls=dict(type='FocalLoss', use_sigmoid=True))
        with pytest.raises(ValueError, match=r'OwnCriterion .*no head .*set its loss_cls to'):
            apply_method(cfg, 'ols')
    finally:
        TASK_UTILS.module_dict.pop('OwnCriterion')


@pytest.mark.parametrize('scope', [None, 'mmpretrain'])
def test_the_scope_is_named_in_which_a_type_is_registered(scope, monkeypatch):
    monkeypatch.setattr(DefaultScope, '_instance_dict', {})  # no run was before it in this process
    cfg = detector(loss_cls=dict(type='FocalLoss', use_sigmoid=True))
    cfg.default_scope = scope
    with pytest.raises(ValueError, match=r"RetinaHead.*one of mmdet,.*set default_scope='mmdet'"):
        apply_method(cfg, 'ols')
    cfg = detector(loss_cls=dict(type='LabelSmoothLoss', label_smooth_val=0.1))
    with pytest.raises(ValueError, match=r"of mmpretrain,.*type='mmpretrain.LabelSmoothLoss'"):
        apply_method(cfg, 'ols')


def test_a_model_that_is_its_own_head_is_named_as_such(said):
    smooth = dict(type='LabelSmoothLoss', label_smooth_val=0.1)
    model = dict(type='TimmClassifier', model_name='resnet18', num_classes=C, loss=smooth)
    cfg = Config(dict(default_scope='mmpretrain', model=model))
    assert ours(cfg)[0]['num_classes'] == C
    assert said[0].startswith('TimmClassifier (the model) learns from hard labels now')
    with pytest.raises(ValueError, match=r'TimmClassifier \(the model\): `alpha`'):
        apply_method(cfg, 'ols:alpha=2')


def test_a_config_without_a_model_is_named_as_such():
    with pytest.raises(ValueError, match='must have a `model`.*has none: .*in `_base_`'):
        apply_method(read_host('common/ms_3x_coco.py'), 'ols')


def test_a_head_of_ones_own_that_stays_as_it_is_is_said(registered, said):
    @registered
    class OwnHead(torch.nn.Module):
        """With classes and a loss, as MMPretrain's have."""

        def __init__(self, num_classes=7, loss=None):
            super().__init__()

    @registered
    class OwnProjection(torch.nn.Module):
        """With a loss, and without classes."""

    loss = dict(type='LabelSmoothLoss', label_smooth_val=0.1)
    cfg = classifier(dict(type='OwnHead', loss=loss))
    assert apply_method(cfg, 'hard').model == cfg.model
    assert len(said) == 1
    assert said[0].startswith('OwnHead (model.head) cannot learn with another classification loss')
    assert said[0].endswith('by hand. It stays as it is.')
    assert hard_form(cfg).to_dict() == apply_method(cfg, 'hard').to_dict()
    assert len(said) == 2  # what only compares says nothing
    cfg = classifier(linear(loss))
    cfg.model.neck = dict(type='OwnProjection', loss=loss)
    changed = apply_method(cfg, 'ols').model
    assert changed.head.loss.type == 'OLSLoss' and changed.neck == cfg.model.neck


def test_further_losses_of_a_head_of_ones_own_are_said(registered, said):
    @registered
    class TwoLevelHead(LinearClsHead):
        def __init__(self, coarse_loss, **kwargs):
            super().__init__(**kwargs)

    @registered
    class CenterHead(FCOSHead):
        pass

    coarse = dict(type='LabelSmoothLoss', label_smooth_val=0.1)
    cfg = classifier(linear(dict(type='CrossEntropyLoss'), coarse_loss=coarse))
    cfg.model.head.type = 'TwoLevelHead'
    changed = apply_method(cfg, 'ols').model.head
    assert (changed.loss.type, changed.coarse_loss) == ('OLSLoss', coarse)
    assert said == [
        'TwoLevelHead (model.head) has another loss, LabelSmoothLoss in `coarse_loss`, which only '
        'its own code knows. It stays as it is.'
    ]
    hard_form(cfg)
    focal = dict(type='FocalLoss', use_sigmoid=True)
    centerness = dict(type='CrossEntropyLoss', use_sigmoid=True)
    ours(detector(type='CenterHead', loss_cls=focal, loss_centerness=centerness))
    assert len(said) == 1  # FCOS's centerness is known to be none of the classes


def test_heads_inside_of_modules_of_ones_own_are_found(registered):
    @registered
    class TwoHeads(BaseModule):
        """A head of two, as of a hierarchy of classes."""

    @registered
    class OwnClassifier(BaseModel):
        pass

    coarse, fine = linear(dict(type='CrossEntropyLoss')), linear(dict(type='FocalLoss'))
    coarse['num_classes'] = 2
    cfg = classifier(dict(type='TwoHeads', coarse=coarse, fine=fine))
    assert [taken['num_classes'] for taken in ours(cfg)] == [2, C]
    # Of one that is not registered, the message about that comes when it is built.
    for kind in ('OwnClassifier', 'NotImported'):
        cfg.model = dict(type=kind, coarse=coarse, fine=fine)
        assert [taken['num_classes'] for taken in ours(cfg)] == [2, C]


def test_what_a_host_cannot_express_is_refused():
    loss = dict(type='OLSLoss', num_classes=C, ignore_index=3)
    with pytest.raises(ValueError, match=r"MMPretrain's CrossEntropyLoss .*`ignore_index`"):
        apply_method(classifier(linear(loss)), 'hard')


PURE_PYTHON = """
from mmdet.models.dense_heads import RetinaHead
from mmdet.models.detectors import RetinaNet
from mmdet.models.losses import FocalLoss, L1Loss

model = dict(
    type=RetinaNet,
    bbox_head=dict(
        type=RetinaHead,
        num_classes=4,
        in_channels=8,
        loss_cls=dict(type=FocalLoss, use_sigmoid=True, gamma=1.5, alpha=0.4),
        loss_bbox=dict(type=L1Loss),
    ),
)
"""


def test_configs_in_pure_python_name_classes_themselves(tmp_path):
    path = tmp_path / 'pure.py'
    path.write_text(PURE_PYTHON)
    cfg = Config.fromfile(path)
    before = cfg.to_dict()
    assert ours(cfg)[0]['gamma'] == 1.5
    changed = apply_method(cfg, 'ols')
    assert cfg.to_dict() == before
    assert changed.model.type is RetinaNet
    hard = apply_method(cfg, 'hard')
    assert apply_method(changed, 'hard').to_dict() == hard.to_dict()
    changed.dump(tmp_path / 'written.py')
    written = Config.fromfile(tmp_path / 'written.py')  # with dotted names instead of classes
    assert written.model.bbox_head.type.endswith('RetinaHead')
    assert apply_method(written, 'hard').to_dict() == hard.to_dict()
    # Built dicts may hold classes as well.
    built = Config(dict(model=dict(type=RetinaNet, bbox_head=dict(cfg.model.bbox_head))))
    assert ours(built) == ours(cfg)


def test_the_finder_needs_no_default_scope():
    cfg = Config(
        dict(
            model=dict(
                type='mmdet.RetinaNet',
                bbox_head=dict(
                    type='mmdet.RetinaHead',
                    num_classes=C,
                    in_channels=8,
                    loss_cls=dict(type='mmdet.FocalLoss', use_sigmoid=True),
                ),
            )
        )
    )
    assert ours(cfg)[0]['num_classes'] == C
    inherited = Config.fromstring("_base_ = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'", '.py')
    inherited.default_scope = 'mmpretrain'  # its nodes still say where they come from
    assert ours(inherited)[0]['num_classes'] == 80
