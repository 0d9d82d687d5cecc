"""What a run needs can be built before it starts, and the run is the same."""

from __future__ import annotations

from uuid import uuid4

import pytest
import torch
from mmengine.runner import Runner
from toy_runner import OLS, make_batches, one_by_one

from mmdet_ols.engine.loops import build_for_testing, build_for_training


def make_runner(work_dir, scheduler='LinearLR', **more):
    return Runner(
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
        **more,
    )


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
