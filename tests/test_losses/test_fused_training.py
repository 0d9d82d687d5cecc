"""The fused form of OLSLoss in a training, and on a machine without a compiler."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from test_losses.steps import C, N, batch, recorded_warnings, step, tensors, twins
from torch import nn
from torch.testing import assert_close

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
from mmdet_ols.core import (
    CannotCompileError,
    compiled_library,
    has_triton,
)

# --- in a training -------------------------------------------------------------------------------


def test_fused_form_under_autocast(fused):
    criterion, plain = twins('fused')
    model, features, label = nn.Linear(8, C), torch.randn(N, 8), torch.randint(C, (N,))
    results = []
    for loss in (criterion, plain):
        model.zero_grad()
        with torch.autocast('cpu', torch.bfloat16):
            value = loss(model(features), label)
        value.backward()
        results.append((value, model.weight.grad.clone()))
    assert len(fused) == 1
    assert fused[0][0].dtype == torch.bfloat16
    assert_close(results[0][0], results[1][0])
    # The scores' gradient is rounded to bfloat16.
    assert_close(results[0][1], results[1][1], rtol=2**-7, atol=1e-4)
    assert_close(tensors(criterion), tensors(plain))


@pytest.mark.parametrize(
    'continued',
    [
        copy.deepcopy,
        lambda criterion: pickle.loads(pickle.dumps(criterion)),
        lambda criterion: resumed(criterion, 'fused'),
        lambda criterion: resumed(criterion, 'plain'),
        lambda criterion: resumed(criterion, 'fused', assign=True),
    ],
    ids=['deepcopy', 'pickle', 'resume', 'resume plainly', 'resume, assign'],
)
def test_training_that_goes_on_elsewhere(continued, fused):
    """In the middle of a period, which the original goes on with, too."""
    criterion, plain = twins('fused')
    for _ in range(2):
        scores, label = batch()
        step(criterion, scores, label)
        step(plain, scores, label)
    other = continued(criterion)
    before = tensors(criterion)
    for _ in range(2):
        for _ in range(2):
            scores, label = batch()
            assert_close(step(other, scores, label), step(plain, scores, label))
            assert_close(tensors(other), tensors(plain))
        other.update_soft_labels()
        plain.update_soft_labels()
        assert_close(tensors(other), tensors(plain))
    assert len(fused) in (2, 6)
    assert_close(tensors(criterion), before, rtol=0, atol=0)


def resumed(criterion, implementation, **options):
    other = OLSLoss(C, implementation=implementation)
    other.load_state_dict(copy.deepcopy(criterion.state_dict()), **options)
    return other


# --- without a compiler --------------------------------------------------------------------------


@pytest.fixture
def no_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.delenv('MMDET_OLS_CACHE', raising=False)
    monkeypatch.delenv('CXX', raising=False)
    monkeypatch.setenv('PATH', '')
    compiled_library.cache_clear()
    yield
    compiled_library.cache_clear()


def test_without_a_compiler_one_warning_names_the_remedy(no_compiler):
    criterion, plain = twins('auto')

    def train():
        for _ in range(3):
            scores, label = batch()
            assert_close(step(criterion, scores, label), step(plain, scores, label))
        criterion.update_soft_labels()
        plain.update_soft_labels()

    (message,) = recorded_warnings(train)
    assert "implementation='plain'" in message
    assert 'apt install g++' in message
    assert_close(tensors(criterion), tensors(plain))


def test_a_compiler_that_fails_is_quoted(no_compiler, monkeypatch, tmp_path):
    compiler = tmp_path / 'compiler'
    compiler.write_text('#!/bin/sh\necho "what is -O3?" >&2\nexit 1\n')
    compiler.chmod(0o755)
    monkeypatch.setenv('CXX', str(compiler))
    with pytest.warns(UserWarning, match=r'(?s)computed operation by operation .*what is -O3\?'):
        step(OLSLoss(C), *batch())


def test_a_library_that_does_not_load_ends_no_training(no_compiler, monkeypatch, tmp_path):
    compiler = tmp_path / 'compiler'
    compiler.write_text('#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\necho text > "$2"\n')
    compiler.chmod(0o755)
    monkeypatch.setenv('CXX', str(compiler))
    criterion, plain = twins('auto')
    scores, label = batch()
    with pytest.warns(UserWarning, match='computed operation by operation'):
        got = step(criterion, scores, label)
    assert_close(got, step(plain, scores, label))


def test_asking_for_the_fused_form_fails_at_once_without_a_compiler(no_compiler):
    with pytest.raises(CannotCompileError, match=r'No C\+\+ compiler'):
        OLSLoss(C, implementation='fused')
    OLSLoss(C, implementation='plain')
    OLSLoss(C)


@pytest.mark.skipif(not has_triton(), reason='needs Triton 3.3')
def test_the_fused_form_of_a_gpu_needs_no_compiler(no_compiler, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    assert OLSLoss(C, implementation='fused').implementation == 'fused'


@pytest.mark.parametrize(
    'method',
    [LSLoss, SCELoss, BootstrapLoss, TfKDRegLoss, PairwiseConfusionLoss, DisturbLabelLoss],
)
def test_methods_without_a_fused_form_say_so(method):
    with pytest.raises(
        ValueError, match=rf"{method.__name__} has no fused form, .*='fused': .* take 'compiled'"
    ):
        method(C, implementation='fused')


def test_ols_single_has_no_fused_form():
    with pytest.raises(ValueError, match='OLSSingleLoss has no fused form'):
        OLSSingleLoss(C, implementation='fused')


def test_unknown_implementation():
    with pytest.raises(
        ValueError, match=r"`implementation` must be one of \('auto', 'plain', .* but got 'fast'"
    ):
        OLSLoss(C, implementation='fast')
