"""Losses that `torch.compile` makes one operation of."""

from __future__ import annotations

import copy
import functools
from unittest import mock

import numpy as np
import pytest
import torch
from test_losses.steps import C, N, batch, recorded_warnings, step, tensors, twins
from torch._dynamo.backends.registry import lookup_backend
from torch.testing import assert_close
from torch_releases import FEW_GRAPHS, WHOLE_GRAPHS

from mmdet_ols import (
    BootstrapLoss,
    DisturbLabelLoss,
    LSLoss,
    OLSLoss,
    OLSSingleLoss,
    PairwiseConfusionLoss,
    SCELoss,
    TfKDRegLoss,
)
from mmdet_ols.losses import classification_loss

pytestmark = pytest.mark.slow


@pytest.fixture
def graphs(monkeypatch):
    """What was compiled, by a backend that takes no minutes."""
    torch._dynamo.reset()
    made, aot_eager = [], lookup_backend('aot_eager')

    def backend(graph, inputs):
        made.append(graph)
        return aot_eager(graph, inputs)

    compile_with(monkeypatch, backend)
    yield made
    torch._dynamo.reset()


def compile_with(monkeypatch, backend):
    compile = functools.partial(torch.compile, backend=backend)
    monkeypatch.setattr(torch, 'compile', compile)
    classification_loss._compiled_compute.cache_clear()
    monkeypatch.setattr(
        classification_loss,
        '_compiled_compute',
        functools.cache(classification_loss._compiled_compute.__wrapped__),
    )


@pytest.mark.parametrize(
    'make',
    [
        functools.partial(OLSLoss, background=True),
        functools.partial(OLSLoss, use_sigmoid=True, gamma=2.0),
        functools.partial(OLSLoss, use_sigmoid=True, quality_beta=2.0),
        functools.partial(LSLoss, use_sigmoid=True),
        functools.partial(BootstrapLoss, class_weight=[1.0, 2, 3, 4, 5]),
        OLSSingleLoss,
        SCELoss,
        TfKDRegLoss,
        PairwiseConfusionLoss,
        DisturbLabelLoss,
    ],
    ids=lambda make: getattr(make, 'func', make).__name__,
)
def test_compiled_equals_plain(make, graphs):
    """Over a roll-over, with ignored labels and weights."""
    plain = make(C)
    compiled = copy.deepcopy(plain)
    compiled.implementation = 'compiled'
    for seed in range(3):
        scores, label = batch(plain.num_columns)
        label[::7] = -100
        weight = torch.rand(N)
        results = []
        for criterion in (plain, compiled):
            torch.manual_seed(seed)  # some methods draw
            results.append(step(criterion, scores, label, weight))
        assert_close(*results)
        assert_close(compiled.state_dict(), plain.state_dict())
        if seed and isinstance(plain, OLSLoss):
            assert plain.correct_count.sum() > 0
            compiled.update_soft_labels()
            plain.update_soft_labels()
    assert len(graphs) == 1 or not WHOLE_GRAPHS


def test_batches_of_any_size_share_a_graph(graphs):
    criterion, plain = twins('compiled')
    for n in (24, 7, 30, 11, 2, 64, 25, 9, 100, 17):
        scores, label = batch(n=n)
        # As a detector's, whose number of positives changes, too.
        call = dict(weight=torch.rand(n), avg_factor=n / 3)
        assert_close(step(criterion, scores, label, **call), step(plain, scores, label, **call))
    assert_close(tensors(criterion), tensors(plain))
    assert len(graphs) <= 3 or not FEW_GRAPHS


@pytest.mark.parametrize('avg_factor', [7, 7.5, np.float32(7.5), torch.tensor(7.5)])
def test_a_divisor_is_compiled_as_a_tensor_where_the_scores_are(avg_factor, monkeypatch):
    compute = mock.Mock()
    monkeypatch.setattr(classification_loss, '_compiled_compute', lambda: compute)
    criterion = OLSLoss(C, implementation='compiled')
    label = torch.zeros(3, dtype=torch.long, device='meta')
    criterion(torch.zeros(3, C, device='meta'), label, avg_factor=avg_factor)
    divisor = compute.call_args.args[-1].avg_factor
    if isinstance(avg_factor, torch.Tensor):
        assert divisor is avg_factor
    else:
        assert divisor.device.type == 'meta'
        assert divisor.shape == ()


def test_positives_of_a_yolo_head_share_a_graph(graphs):
    """Two images' anchors, some of which are ignored; from none to many positives."""
    criterion, plain = twins('compiled', use_sigmoid=True, reduction='sum')
    for positives in (3, 5, 0, 1, 40, 2, 17, 9, 4, 30):
        scores, target = torch.randn(2, 50, C), torch.zeros(2, 50, C)
        weight = torch.zeros(2, 50, 1)
        chosen = torch.randperm(100)[:positives]
        label = torch.randint(C, (positives,))
        target.view(100, C)[chosen, label] = 1
        scores.view(100, C)[chosen[::2], label[::2]] += 4
        weight.view(100)[chosen] = 1
        got = step(criterion, scores, target, weight)
        assert_close(got, step(plain, scores, target, weight))
    assert plain.sample_count.sum() == 111
    assert_close(tensors(criterion), tensors(plain))
    # The first size; any below and any from the number of classes on (`_add`); none, and one.
    assert len(graphs) <= 5 or not FEW_GRAPHS


def test_evaluation_is_compiled_without_what_it_learns(graphs):
    criterion, plain = twins('compiled')
    scores, label = batch()
    step(criterion, scores, label)
    step(plain, scores, label)
    before = tensors(criterion)
    with torch.no_grad():
        assert_close(criterion.eval()(scores, label), plain.eval()(scores, label))
    assert_close(tensors(criterion), before, rtol=0, atol=0)
    assert len(graphs) == 2 or not WHOLE_GRAPHS


def cannot(*args, **kwargs):
    raise NotImplementedError('no such thing on this machine')


@pytest.mark.parametrize('where', ['backend', 'torch.compile'])
def test_where_compiling_fails_one_warning_says_so(where, monkeypatch):
    torch._dynamo.reset()
    if where == 'backend':
        compile_with(monkeypatch, cannot)
    else:  # as in a Python that is newer than PyTorch knows
        compile_with(monkeypatch, 'eager')
        monkeypatch.setattr(torch, 'compile', cannot_at_all)
    criterion, plain = twins('compiled')

    def train():
        for _ in range(3):
            scores, label = batch()
            assert_close(step(criterion, scores, label), step(plain, scores, label))

    (message,) = recorded_warnings(train)
    assert 'OLSLoss could not be compiled' in message
    assert "implementation='plain'" in message
    assert 'on this machine' in message
    assert_close(tensors(criterion), tensors(plain))
    torch._dynamo.reset()


def cannot_at_all(*args, **kwargs):
    raise RuntimeError('torch.compile is not supported on this machine')


def test_an_error_of_the_call_is_not_taken_for_one_of_the_compiler(graphs):
    criterion = OLSLoss(C, implementation='compiled')
    scores, label = batch()
    label[3] = C
    with pytest.raises(ValueError, match='label must be in'):
        criterion(scores, label)
    assert criterion.implementation == 'compiled'
