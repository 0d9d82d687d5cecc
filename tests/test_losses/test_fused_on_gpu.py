"""The fused form for GPUs is the plain one: its kernel run by Triton's interpreter on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from unittest import mock

import pytest
import torch
from test_losses.steps import C, N, assert_like_plain, batch, step, tensors, twins
from torch.testing import assert_close

from mmdet_ols import OLSLoss
from mmdet_ols.core import has_triton
from mmdet_ols.core.fused import gpu
from mmdet_ols.losses import ols_loss

pytestmark = [
    pytest.mark.skipif(not has_triton(), reason='needs Triton 3.3'),
    pytest.mark.skipif(
        os.environ.get('TRITON_INTERPRET') != '1', reason='on a GPU, test_gpu.py runs the kernel'
    ),
    # Of the interpreter.
    pytest.mark.filterwarnings('ignore::DeprecationWarning', 'ignore::RuntimeWarning'),
]


@pytest.fixture
def on_gpu(monkeypatch):
    """Take batches on the CPU for those of a GPU, and count the kernel's calls."""
    calls = []

    def spy(*args):
        calls.append(args)
        return gpu.fused_cross_entropy_on_gpu(*args)

    monkeypatch.setattr(ols_loss, 'can_fuse_on_gpu', lambda *args: True)
    monkeypatch.setattr(ols_loss, 'fused_cross_entropy_on_gpu', spy)
    return calls


@pytest.mark.parametrize(
    ('options', 'call'),
    [
        ({}, {}),
        (dict(alpha=0.0, start='zeros'), {}),
        (dict(alpha=1.0, loss_weight=2.5), {}),
        (dict(num_classes=16, background=True), dict(avg_factor=3)),
        (dict(num_classes=N, background=True), {}),
        (dict(num_classes=1), {}),
        (dict(num_classes=40), {}),
        (dict(reduction='sum', loss_weight=0.3), {}),
        (dict(loss_weight=2.0), dict(avg_factor=torch.tensor(7))),
        ({}, dict(avg_factor=0.0)),
        (dict(ignore_index=255), {}),
        (dict(avg_non_ignore=True), dict(avg_factor=11.0)),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ('weigh', 'dtype'),
    [('none', torch.float32), ('some', torch.bfloat16), ('zero', torch.float16)],
    ids=str,
)
def test_kernel_equals_plain(dtype, weigh, options, call, on_gpu):
    criterion, plain = twins('fused', **options)
    scores, label = batch(criterion.num_columns)
    scores = scores.to(dtype)
    label[[3, 7]] = -100 if criterion.ignore_index is None else criterion.ignore_index
    weight = torch.rand(N) * (torch.rand(N) < 0.6)
    weight = dict(none=None, some=weight, zero=0 * weight)[weigh]
    assert_like_plain(criterion, plain, scores, label, weight, **call)
    assert len(on_gpu) == 1
    assert (criterion.correct_count.sum() > 0) == (weigh != 'zero')


@pytest.mark.parametrize('block', [2, 4, 8])
def test_rows_of_several_blocks(block, on_gpu, monkeypatch):
    """The largest score, its first place, and what is not finite, in any block."""
    monkeypatch.setattr(gpu, 'MOST_IN_A_BLOCK', block)
    criterion, plain = twins('fused', num_classes=7)
    scores, label = batch(7)
    scores[4] = 1.0  # all are the largest
    assert_close(step(criterion, scores, label), step(plain, scores, label))
    # A class that is masked out costs nothing where it is not wanted.
    for loss in (criterion, plain):
        loss.soft_labels[:, 6] = 0
    scores[::3, 6] = -torch.inf
    label = label.clamp(max=5)
    ours, expected = step(criterion, scores, label), step(plain, scores, label)
    assert ours[0].isfinite()
    assert_close(ours, expected)
    scores[0, 5], scores[1, 1] = torch.nan, torch.inf
    assert_close(step(criterion, scores, label), step(plain, scores, label), equal_nan=True)
    assert_close(tensors(criterion), tensors(plain))


def test_a_slope_of_its_own_and_a_second_pass(on_gpu):
    criterion, plain = twins('fused')
    scores, label = batch()
    for loss in (criterion, plain):
        inputs = scores.clone().requires_grad_()
        total = 3 * loss(inputs, label)
        first = torch.autograd.grad(total, inputs, retain_graph=True)
        second = torch.autograd.grad(total, inputs)
        assert_close(first, second)
        loss.gradient = first
    assert_close(criterion.gradient, plain.gradient)
    with pytest.raises(RuntimeError, match='cannot be differentiated twice'):
        inputs = scores.clone().requires_grad_()
        torch.autograd.grad(criterion(inputs, label), inputs, create_graph=True)


def test_float16_gradients_are_scaled_before_they_are_rounded(on_gpu):
    """Loss scaling is there for gradients that float16 has no numbers for."""
    criterion, plain = twins('fused')
    scores, label = batch()
    ours, expected = (
        torch.autograd.grad(2.0**16 * loss(inputs, label, avg_factor=1e6), inputs)[0]
        for loss, inputs in ((x, scores.half().requires_grad_()) for x in (criterion, plain))
    )
    assert len(on_gpu) == 1
    assert ours.dtype == torch.float16
    assert_close(ours, expected)


@pytest.mark.parametrize('wrong', [-1, C, 1000])
def test_a_wrong_label_is_refused(wrong, on_gpu):
    criterion, _ = twins('fused')
    scores, label = batch()
    label[3] = wrong
    with pytest.raises(RuntimeError, match='must be a class of the loss or the ignore_index'):
        criterion(scores.requires_grad_(), label)


def test_how_many_labels_count_is_left_to_the_plain_form(on_gpu):
    criterion, plain = twins('fused', avg_non_ignore=True)
    scores, label = batch()
    label[3] = -100
    assert_close(step(criterion, scores, label), step(plain, scores, label))
    assert not on_gpu


def test_a_kernel_that_cannot_be_made_ends_no_training(on_gpu, monkeypatch):
    monkeypatch.setattr(gpu, '_kernel', mock.Mock(side_effect=RuntimeError('no ptxas')))
    criterion, plain = twins('fused')
    scores, label = batch()
    with pytest.warns(UserWarning, match='Triton cannot make the kernel.*no ptxas'):
        ours = step(criterion, scores, label)
    assert_close(ours, step(plain, scores, label))
    assert criterion.implementation == 'plain'


def test_a_batch_on_the_cpu_is_none_for_a_gpu():
    scores, label = batch()
    state = OLSLoss(C).state
    assert not gpu.can_fuse_on_gpu(scores.requires_grad_(), label, None, None, state)


COMPILE = """
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from mmdet_ols.core.fused.kernel import training_step

types = dict.fromkeys(training_step.arg_names, '*fp32')
types.update(label='*i64', is_known='*i8', columns='i32', num_classes='i32', ignore_index='i32')
types.update(factor='fp32', alpha='fp32')
for capability, kind, given, block in (
    (75, '*fp16', False, 32), (80, '*bf16', True, 1024), (90, '*fp32', True, 4096)
):
    constants = dict(HAS_WEIGHT=given, HAS_DIVISOR=given, LEARNS=True, BLOCK=block)
    gradient = '*fp32' if kind == '*fp16' else kind
    signature = dict(types, logits=kind, gradient=gradient, **dict.fromkeys(constants, 'constexpr'))
    source = ASTSource(training_step, signature=signature, constexprs=constants)
    compiled = compile(source, target=GPUTarget('cuda', capability, 32))
    print(len(compiled.asm['cubin']) > 0)
"""


def test_the_kernel_compiles_for_gpus_of_three_generations(tmp_path):
    """Without a GPU, since the compiler needs none."""
    environment = {**os.environ, 'TRITON_INTERPRET': '0', 'TRITON_CACHE_DIR': str(tmp_path)}
    command = [sys.executable, '-c', COMPILE]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ['True'] * 3
