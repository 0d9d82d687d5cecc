"""The losses of a config are compared with their heads and hooks before a training starts."""

from contextlib import nullcontext

import pytest
from mmengine.config import Config

from mmdet_ols.checks.losses import check_losses


def model_config(num_classes=3, hooks=None, **loss):
    head = dict(
        type='YOLOV3Head', num_classes=3, loss_cls=dict(type='OLSLoss', num_classes=num_classes)
    )
    return Config(dict(model=dict(bbox_head=[head]), default_hooks=hooks or {}))


def test_loss_and_head_must_agree_about_the_classes():
    with pytest.raises(
        ValueError, match=r'OLSLoss.*\(YOLOV3Head\), but got 80 for 3: set num_classes=3'
    ):
        check_losses(model_config(80))


def test_a_loss_without_hook_is_said_loudly(said):
    check_losses(model_config(hooks=dict(timer=dict(type='IterTimerHook'))))
    assert said[0] == 'YOLOV3Head: OLSLoss(num_classes=3)'
    assert len(said) == 2 and 'no OLSHook' in said[1]
    check_losses(model_config(hooks=dict(ols=dict(type='OLSHook'))))
    assert said[2:] == said[:1]


def test_a_hook_that_counts_epochs_in_an_iteration_based_loop(said):
    cfg = model_config(hooks=dict(ols=dict(type='OLSHook', by_epoch=True)))
    for loop in (dict(by_epoch=False), dict(type='IterBasedTrainLoop')):
        cfg.train_cfg = dict(max_iters=9, **loop)
        with pytest.raises(ValueError, match='`by_epoch` of OLSHook must not be True'):
            check_losses(cfg)
    for hook in (dict(type='OLSHook'), dict(type='OLSHook', by_epoch=False)):
        cfg.default_hooks.ols = hook  # the hook asks the loop by itself
        check_losses(cfg)


@pytest.mark.parametrize(
    ('head', 'background', 'message'),
    [
        ('Shared2FCBBoxHead', False, 'must be True, .* have a column for the background, but is F'),
        ('YOLOV3Head', True, 'must be False, since .* have no column for the background'),
        ('RetinaHead', False, 'must be True, .* set use_sigmoid=True .* and background=True other'),
        ('Shared2FCBBoxHead', True, None),
        ('YOLOV3Head', False, None),
    ],
)
def test_loss_and_head_must_agree_about_the_background(head, background, message):
    loss = dict(type='OLSLoss', num_classes=3, background=background)
    if head == 'YOLOV3Head':
        loss['use_sigmoid'] = True
    model = dict(bbox_head=dict(type=head, num_classes=3, loss_cls=loss))
    cfg = Config(dict(model=model, default_scope='mmdet'))
    if message is None:
        check_losses(cfg)
    else:
        with pytest.raises(ValueError, match=f'`background` of OLSLoss {message}'):
            check_losses(cfg)


@pytest.mark.parametrize('head', ['YOLOV3Head', 'YOLOXHead', 'SOLOHead'])
def test_a_head_that_reads_its_scores_through_a_sigmoid_needs_a_loss_that_does(head):
    loss = dict(type='OLSLoss', num_classes=3)
    model = dict(bbox_head=dict(type=head, num_classes=3, loss_cls=loss))
    cfg = Config(dict(model=model, default_scope='mmdet'))
    with pytest.raises(ValueError, match=f'`use_sigmoid` of OLSLoss must be True, since {head} '):
        check_losses(cfg)
    cfg.model.bbox_head.loss_cls.use_sigmoid = True
    check_losses(cfg)


@pytest.mark.parametrize(
    ('head', 'quality_beta', 'message'),
    [
        ('GFLHead', None, r'GFLHead: it sends labels together .* quality_beta=2\.0'),
        ('FCOSHead', 2.0, r'FCOSHead: OLSLoss learns the qualities .* without quality_beta'),
        ('GFLHead', 2.0, None),
        ('FCOSHead', None, None),
    ],
)
def test_loss_and_head_must_agree_about_qualities(head, quality_beta, message):
    loss = dict(type='OLSLoss', num_classes=3, use_sigmoid=True, quality_beta=quality_beta)
    model = dict(bbox_head=dict(type=head, num_classes=3, loss_cls=loss))
    cfg = Config(dict(model=model, default_scope='mmdet'))
    with pytest.raises(ValueError, match=message) if message else nullcontext():
        check_losses(cfg)


def test_the_alpha_of_a_base_configs_focal_loss_is_said(said):
    loss = dict(type='OLSLoss', num_classes=3, use_sigmoid=True, gamma=2.0, alpha=0.25)
    head = dict(type='RetinaHead', num_classes=3, loss_cls=loss)
    hooks = dict(ols=dict(type='OLSHook'))
    cfg = Config(dict(model=dict(bbox_head=head), default_scope='mmdet', default_hooks=hooks))
    check_losses(cfg)
    assert len(said) == 2 and 'takes alpha=0.25 as its own' in said[0]
    assert '_delete_=True and balance' in said[0]
    for balance in (0.25, None):
        cfg.model.bbox_head.loss_cls.balance = balance
        check_losses(cfg)
    assert len(said) == 4 and not any('as its own' in message for message in said[1:])
