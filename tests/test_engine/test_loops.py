"""What a run needs can be built before it starts, and the run is the same."""

from __future__ import annotations

from uuid import uuid4

import pytest
import torch
from mmengine.dataset import InfiniteSampler
from mmengine.runner import Runner
from torch.utils.data import DataLoader
from toy_runner import OLS, make_batches, one_by_one

from mmdet_ols.engine import loops
from mmdet_ols.engine.loops import build_for_testing, build_for_training


def make_runner(work_dir, scheduler='LinearLR', **more):
    options = dict(
        model=dict(type='ToyClassifier', loss=OLS),
        work_dir=str(work_dir),
        experiment_name=f'loops_{uuid4().hex}',
        train_dataloader=one_by_one(make_batches()),
        train_cfg=dict(by_epoch=True, max_epochs=2),
        val_dataloader=one_by_one(make_batches(1)),
        val_cfg=dict(),
        val_evaluator=dict(type='RisingScore'),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.4)),
        param_scheduler=[dict(type=scheduler, start_factor=0.5, begin=0, end=2)],
        auto_scale_lr=dict(enable=True, base_batch_size=2),
        randomness=dict(seed=0),
    )
    return Runner(**{**options, **more})


def test_the_training_is_the_same_and_its_learning_rate_scaled_once(tmp_path):
    built, plain = make_runner(tmp_path / 'a'), make_runner(tmp_path / 'b')
    build_for_training(built)
    assert built.optim_wrapper.get_lr()['lr'] == [0.5 * 0.5 * 0.4]
    assert not isinstance(built._val_loop, dict) and isinstance(plain._val_loop, dict)
    weights = [dict(runner.train().state_dict()) for runner in (built, plain)]
    for key, value in weights[0].items():
        assert torch.equal(value, weights[1][key])


def test_what_cannot_be_built_is_said_before_the_training(tmp_path):
    with pytest.raises(ValueError, match=r"registered as 'LinearRL' \(did you mean `LinearLR`"):
        build_for_training(make_runner(tmp_path, 'LinearRL'))


def test_the_loop_of_a_test_is_built_once(tmp_path):
    loader = one_by_one(make_batches(1))
    test = dict(test_dataloader=loader, test_cfg=dict(), test_evaluator=dict(type='RisingScore'))
    runner = make_runner(tmp_path, **test)
    build_for_testing(runner)
    loop = runner._test_loop
    assert runner.test() == dict(score=1.0) and runner._test_loop is loop
    build_for_testing(make_runner(tmp_path))  # there is no test


def test_a_loader_that_gives_no_batch_is_refused(tmp_path):
    loader = DataLoader(make_batches(), batch_size=1000, drop_last=True)
    message = r'`train_dataloader` gives no batch: .* less than a batch of 1000, and drop_last=True'
    with pytest.raises(ValueError, match=message):
        build_for_training(make_runner(tmp_path, train_dataloader=loader))


def test_an_epoch_has_to_end(tmp_path):
    batches = make_batches()
    loader = DataLoader(batches, sampler=InfiniteSampler(batches))
    with pytest.raises(ValueError, match=r'`train_dataloader\.sampler` must end with each epoch'):
        build_for_training(make_runner(tmp_path / 'a', train_dataloader=loader))
    message = r'`val_dataloader\.sampler` must end .*shuffle=False\)\.$'
    by_iteration = dict(by_epoch=False, max_iters=2)
    with pytest.raises(ValueError, match=message):
        build_for_training(
            make_runner(tmp_path / 'b', val_dataloader=loader, train_cfg=by_iteration)
        )


def test_a_test_that_leaves_samples_out_is_said(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(loops, 'warn', said.append)
    batches = make_batches()
    loader = DataLoader(batches, batch_size=len(batches) - 1, drop_last=True)
    build_for_training(make_runner(tmp_path / 'a', train_dataloader=loader))
    assert said == []  # a training may
    build_for_training(make_runner(tmp_path / 'b', val_dataloader=loader))
    assert len(said) == 1 and 'leaves out the last 1 of its' in said[0]


def test_samples_that_come_again_and_again_fill_any_batch(tmp_path):
    batches = make_batches()
    sampler = InfiniteSampler(batches)
    loader = DataLoader(batches, batch_size=1000, sampler=sampler, drop_last=True)
    by_iteration = dict(by_epoch=False, max_iters=2)
    build_for_training(make_runner(tmp_path, train_dataloader=loader, train_cfg=by_iteration))
