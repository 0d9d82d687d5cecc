"""Trainings in MMEngine's runner: resuming, averaging, and the first epoch."""

from __future__ import annotations

import gc
from uuid import uuid4

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.testing import assert_close
from toy_images import CLASSES, ToyImages  # noqa: F401  (registers the images)
from toy_self_distillation import build, config

from mmdet_ols import apply_method

IMAGES = dict(type='ToyImages', count=8, sizes=(16,), pipeline=[dict(type='PackInputs')])
EMA = dict(type='EMAHook', momentum=0.5, update_buffers=True)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Leave out what takes longer than these trainings."""
    monkeypatch.setattr(gc, 'collect', lambda: 0)
    monkeypatch.setattr('yapf.yapflib.yapf_api.FormatCode', lambda text, **_: (text, False))
    monkeypatch.setattr('mmengine.runner.runner.collect_env', dict)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class FirstExit(Hook):
    """Keeps the weights of the first exit as they were before each epoch, and at the end."""

    def __init__(self):
        self.weights = []

    def before_train_epoch(self, runner):
        self.weights += [exit.fc.weight.detach().clone() for exit in runner.model.exits[:1]]

    after_train = before_train_epoch


def train(work_dir, method, hooks=(), resume_from=None, watching=None):
    """Train a small classifier for two epochs; returns what the last checkpoint holds."""
    dataset = dict(
        type='InMemoryDataset',
        dataset=IMAGES,
        batch_transforms=[dict(type='BatchRandomCrop', crop_size=16, padding=2)],
    )
    cfg = config(
        train_dataloader=dict(
            batch_size=4,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=dict(type='whole_batch_collate'),
            dataset=dataset,
        ),
        train_cfg=dict(by_epoch=True, max_epochs=2),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
        work_dir=str(work_dir),
        experiment_name=uuid4().hex,
        randomness=dict(seed=0),
        load_from=str(resume_from) if resume_from else None,
        resume=resume_from is not None,
    )
    cfg.model.head.num_classes = cfg.model.data_preprocessor.num_classes = CLASSES
    cfg.model.data_preprocessor.update(mean=[128.0] * 3, std=[64.0] * 3)
    cfg = apply_method(cfg, method)
    cfg.custom_hooks = list(hooks)
    runner = Runner.from_cfg(cfg)
    if watching:  # no config: MMEngine 0.10.7 writes that into the work directory
        runner.register_hook(watching)
    runner.train()
    return torch.load(work_dir / 'epoch_2.pth', weights_only=False)


@pytest.mark.parametrize(
    ('method', 'hooks'),
    [('byot+ols', []), ('ddgsd:mmd_weight=0.1', []), ('tfkd_self', [EMA])],
)
def test_a_resumed_training_is_the_uninterrupted_one(tmp_path, method, hooks):
    if method == 'tfkd_self':
        teacher = build('hard')
        teacher.head.fc = torch.nn.Linear(16, CLASSES)
        torch.save(teacher.state_dict(), tmp_path / 'teacher.pth')
        method = f'tfkd_self:teacher="{tmp_path / "teacher.pth"}",form=fair'
    first_exit = FirstExit()
    watching = first_exit if method == 'byot+ols' else None
    whole = train(tmp_path / 'whole', method, hooks, watching=watching)
    resumed = train(tmp_path / 'resumed', method, hooks, tmp_path / 'whole' / 'epoch_1.pth')
    assert_close(resumed['state_dict'], whole['state_dict'], rtol=0, atol=0)
    for key in ('state_dict', 'ema_state_dict') if hooks else ():
        assert_close(resumed[key], whole[key], rtol=0, atol=0)
        names = {name.replace('module.', '') for name in whole[key]} - {'steps'}
        assert names == build('hard').state_dict().keys()  # without a teacher
    if first_exit.weights:  # which waits for the second epoch
        start, after_first, after_second = first_exit.weights
        assert torch.equal(start, after_first) and not torch.equal(start, after_second)
