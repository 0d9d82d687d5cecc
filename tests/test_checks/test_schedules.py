"""Schedules that do not fit the training, and settings that a resumed run does not take over."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import CosineAnnealingLR, MultiStepLR, OptimWrapper
from tiny_models import read_host
from torch import nn

import mmdet_ols
from mmdet_ols.checks import schedules
from mmdet_ols.checks.schedules import schedule_warnings, warn_of_resumed_settings

WARM_UP = dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=500)
EPOCHS = dict(max_epochs=16)


def cosine(**more):
    return dict(type='CosineAnnealingLR', **more)


BY_ITERATION = dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=20))


def warnings(schedulers, hooks=BY_ITERATION, **train_cfg):
    parts = dict(train_cfg=train_cfg, param_scheduler=schedulers, default_hooks=hooks)
    return schedule_warnings(Config(parts))


@pytest.mark.parametrize(
    ('schedulers', 'train_cfg'),
    [
        (None, EPOCHS),
        (cosine(T_max=16), EPOCHS),
        ([WARM_UP, cosine(begin=1, end=16, T_max=15)], EPOCHS),
        # YOLOX's, whose last epochs have a constant learning rate
        ([cosine(end=12, T_max=12), dict(type='ConstantLR', factor=1, begin=12, end=16)], EPOCHS),
        # An end that is left out is that of the training.
        ([WARM_UP, cosine(begin=1)], EPOCHS),
        (dict(type='PolyLR'), EPOCHS),
        (dict(type='PolyLR', by_epoch=False), dict(by_epoch=False, max_iters=40)),
        ([cosine(end=12), dict(type='ConstantLR', factor=1, begin=12)], EPOCHS),
        (dict(type='MultiStepLR', end=12, milestones=[8, 11]), EPOCHS),
        (dict(type='PolyLR', end=40, by_epoch=False), dict(by_epoch=False, max_iters=40)),
        (cosine(T_max=9, by_epoch=False), EPOCHS),  # how many iterations there are is not known
        (cosine(T_max=9), dict()),
    ],
)
def test_schedules_that_fit(schedulers, train_cfg):
    assert warnings(schedulers, **train_cfg) == []


@pytest.mark.parametrize(
    ('scheduler', 'parts'),
    [
        (
            cosine(end=4, T_max=4),
            ['until epoch 4', 'after epoch 16', 'at its lowest', '1.end=16 and ', '1.T_max=16'],
        ),
        (cosine(begin=1, end=40), ['until epoch 40', 'still high', 'scheduler.1.end=16,']),
        (cosine(end=16, T_max=8), ['until epoch 8', 'rises again']),
        (cosine(T_max=40), ['until epoch 40', 'still high']),
        (cosine(T_max=8), ['until epoch 8', 'rises again']),
        (cosine(T_max=40, end=16), ['until epoch 40', 'still high']),
        (dict(type='PolyLR', end=4), ['PolyLR', 'stays at its lowest']),
    ],
)  # fmt: skip
def test_schedules_of_another_length(scheduler, parts):
    (warning,) = warnings([WARM_UP, scheduler], **EPOCHS)
    assert all(part in warning for part in ('param_scheduler.1 (', *parts)), warning


def test_what_counts_epochs_does_nothing_in_an_iteration_based_loop():
    loop = dict(by_epoch=False, max_iters=40)
    (message,) = warnings([dict(WARM_UP), dict(type='MultiStepLR', milestones=[8, 11])], **loop)
    assert message.startswith('param_scheduler.1 (MultiStepLR) counts epochs')
    assert 'Set param_scheduler.1.by_epoch=False' in message
    converted = dict(type='MultiStepLR', milestones=[8], convert_to_iter_based=True)
    assert warnings(converted, **loop) == []
    assert warnings(dict(type='ReduceOnPlateauLR', monitor='loss'), **loop) == []
    for hooks in (None, dict(checkpoint=dict(type='CheckpointHook', interval=1))):
        (message,) = warnings(None, hooks=hooks, **loop)
        assert message.startswith('CheckpointHook counts epochs')
        assert warnings(None, hooks=hooks, **EPOCHS) == []
    assert warnings(None, hooks=dict(checkpoint=None), **loop) == []


def test_shipped_configs_have_schedules_that_fit():
    folder = Path(mmdet_ols.config_path('yolo_ols_own.py')).parent
    for name in ('yolo_hard_own.py', 'yolo_hard_voc.py', 'yolo_ols_demo.py'):
        assert schedule_warnings(Config.fromfile(folder / name)) == [], name


@pytest.mark.parametrize(
    ('path', 'host'),
    [
        ('yolox/yolox_s_8xb8-300e_coco.py', 'mmdet'),
        ('strongsort/yolox_x_8xb4-80e_crowdhuman-mot17halftrain_test-mot17halfval.py', 'mmdet'),
        ('convnext/convnext-tiny_32xb128_in1k.py', 'mmpretrain'),
        ('deit/deit-small_4xb256_in1k.py', 'mmpretrain'),
    ],
)
def test_schedules_of_the_hosts_fit(path, host):
    assert schedule_warnings(read_host(path, host)) == []


def run(lr=0.1, weight_decay=0.01, schedule=CosineAnnealingLR, **options):
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=lr, weight_decay=weight_decay)
    schedulers = [schedule(optimizer, **options)] if options else []
    return SimpleNamespace(optim_wrapper=OptimWrapper(optimizer), param_schedulers=schedulers)


def saved(runner):
    """As MMEngine saves them."""
    states = [schedule.state_dict() for schedule in runner.param_schedulers]
    return dict(optimizer=runner.optim_wrapper.state_dict(), param_schedulers=states)


@pytest.fixture
def said(monkeypatch):
    messages = []
    monkeypatch.setattr(schedules, 'warn', messages.append)
    return messages


@pytest.mark.parametrize(
    ('before', 'now', 'parts'),
    [
        (
            dict(T_max=4, end=4),
            dict(T_max=8, end=8),
            ['T_max of CosineAnnealingLR is 4 there and 8 in the config', 'end of Cosine'],
        ),
        (
            dict(schedule=MultiStepLR, milestones=[2]),
            dict(schedule=MultiStepLR, milestones=[3]),
            ['milestones of MultiStepLR is [2] there and [3] in the config'],
        ),
        (
            dict(T_max=4),
            dict(T_max=4, lr=0.2),
            ['initial_lr of the optimizer is 0.1 there and'],
        ),
        (dict(), dict(weight_decay=0.0), ['weight_decay of the optimizer is 0.01 there and 0.0']),
        (dict(), dict(lr=0.2), ['lr of the optimizer is 0.1 there and 0.2']),
    ],
)
def test_settings_of_the_checkpoint_count_and_are_said(before, now, parts, said):
    warn_of_resumed_settings(run(**now), saved(run(**before)), 'epoch_2.pth')
    (warning,) = said
    assert all(part in warning for part in ('epoch_2.pth', *parts, 'without --resume')), warning


@pytest.mark.parametrize(
    'options', [dict(), dict(T_max=4), dict(schedule=MultiStepLR, milestones=[1])]
)
def test_a_run_that_goes_on_as_it_was_hears_nothing(options, said):
    runner = run(**options)
    for _ in range(2):
        runner.optim_wrapper.optimizer.step()
        for schedule in runner.param_schedulers:
            schedule.step()
    content = saved(runner)
    for state in content['param_schedulers']:  # what a file makes of them
        if 'milestones' in state:
            state['milestones'] = Counter(state['milestones'])
    warn_of_resumed_settings(run(**options), content, 'epoch_2.pth')
    warn_of_resumed_settings(run(**options), dict(state_dict={}), 'epoch_2.pth')
    warn_of_resumed_settings(SimpleNamespace(), content, 'epoch_2.pth')
    assert said == []
