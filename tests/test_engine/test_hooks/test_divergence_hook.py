"""A training whose weights are no numbers any more ends, and what was saved before is whole."""

from __future__ import annotations

import pytest
import torch
from mmengine.hooks import Hook
from torch import nn
from toy_images import build_runner, classifier, loader

from mmdet_ols.engine.hooks import DivergenceError, DivergenceHook


class Spoils(Hook):
    """Makes a weight infinite after so many iterations."""

    def __init__(self, after):
        self.after = after

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.after:
            with torch.no_grad():
                runner.model.backbone.conv.weight[3, 1] = torch.inf


def build(tmp_path, interval, **options):
    """A training of two epochs of two iterations, each with a checkpoint."""
    hook = dict(type='DivergenceHook', interval=interval, **options)
    return build_runner(
        tmp_path,
        classifier(),
        [hook],
        train_dataloader=loader(count=32, batch_size=16),
        train_cfg=dict(by_epoch=True, max_epochs=2),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
        checkpoint=dict(type='CheckpointHook', interval=1),
    )


@pytest.mark.parametrize(
    ('after', 'interval', 'noticed'),
    [(0, 1, 1), (2, 1, 3), (0, 100, 2), (2, 100, 4), (3, 2, 4)],
)
def test_weights_that_are_not_finite_end_a_training(tmp_path, after, interval, noticed):
    epoch = 1 + (noticed > 2)
    message = f'after {noticed} iterations, in epoch {epoch}, `backbone.conv.weight` is not finite'
    runner = build(tmp_path, interval)
    runner.register_hook(Spoils(after))
    with pytest.raises(DivergenceError, match=message):
        runner.train()
    assert len(list(tmp_path.glob('epoch_*.pth'))) == epoch - 1


def test_it_may_warn_once_instead(tmp_path, monkeypatch):
    runner = build(tmp_path, 1, strict=False)
    runner.register_hook(Spoils(2))
    said = []
    monkeypatch.setattr(runner.logger, 'warning', said.append)
    runner.train()
    assert sum('diverged: after 3 iterations' in text for text in said) == 1
    assert sum('diverged' in text for text in said) == 1
    assert (tmp_path / 'epoch_2.pth').is_file()


def test_a_weight_that_is_not_trained_does_not_count(tmp_path):
    runner = build(tmp_path, 1)
    runner.model.prior = nn.Parameter(torch.tensor(torch.inf), requires_grad=False)
    runner.train()
    assert (tmp_path / 'epoch_2.pth').is_file()


def test_the_interval_is_a_positive_integer():
    with pytest.raises(ValueError, match='`interval` must be'):
        DivergenceHook(0)
