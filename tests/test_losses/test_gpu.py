"""Losses as GPUs run them: captured in a CUDA graph, and compiled for one."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.testing import assert_close

from mmdet_ols import OLSLoss

C = 50

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU'),
]
QUALITY = dict(use_sigmoid=True, quality_beta=2.0)
FORMS = pytest.mark.parametrize(
    'form', [{}, dict(use_sigmoid=True), QUALITY], ids=['softmax', 'sigmoid', 'quality focal']
)
FUSED = dict(implementation='fused')


def batches(count, dtype=torch.float32):
    for _ in range(count):
        label = torch.randint(C, (64,), device='cuda')
        scores = torch.randn(64, C, device='cuda', dtype=dtype)
        scores[::2].scatter_add_(1, label[::2, None], scores.new_full((32, 1), 8))
        yield scores.requires_grad_(), label


def step(criterion, scores, label):
    loss = criterion(scores, label)
    return loss.detach(), torch.autograd.grad(loss, scores)[0]


@pytest.mark.parametrize(
    'form',
    [{}, dict(use_sigmoid=True), QUALITY, FUSED],
    ids=['softmax', 'sigmoid', 'quality focal', 'fused'],
)
def test_replayed_graph_trains_as_separate_calls_do(form):
    eager = OLSLoss(C, **form).cuda()
    replayed = copy.deepcopy(eager)
    scores, label = next(batches(1))
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step(replayed, scores, label)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        in_graph = step(replayed, scores, label)
    replayed.reset_sums()

    for _ in range(2):
        for new_scores, new_label in batches(5):
            with torch.no_grad():
                scores.copy_(new_scores)
                label.copy_(new_label)
            graph.replay()
            assert_close(in_graph, step(eager, new_scores, new_label))
        assert eager.correct_count.sum() > 0
        assert_close(replayed.state_dict(), eager.state_dict())
        eager.update_soft_labels()
        replayed.update_soft_labels()
        assert_close(replayed.soft_labels, eager.soft_labels)


@FORMS
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('how', ['implementation', 'reduce-overhead'])
def test_compiled_loss_trains_as_the_plain_one(how, dtype, form):
    plain = OLSLoss(C, **form).cuda()
    own = how == 'implementation'
    criterion = OLSLoss(C, implementation='compiled' if own else 'auto', **form).cuda()
    call = criterion if own else torch.compile(criterion, mode=how)
    # Gradients are returned in the logits' type.
    close = dict(rtol=2e-2, atol=1e-4) if dtype == torch.bfloat16 else {}
    for _ in range(2):
        for scores, label in batches(4, dtype):
            torch.compiler.cudagraph_mark_step_begin()
            assert_close(step(call, scores, label), step(plain, scores, label), **close)
        assert_close(criterion.state_dict(), plain.state_dict())
        plain.update_soft_labels()
        criterion.update_soft_labels()


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize('classes', [C, 5000])
def test_fused_loss_trains_as_the_plain_one(classes, dtype):
    plain, fused = OLSLoss(classes).cuda(), OLSLoss(classes, **FUSED).cuda()
    close = {} if dtype == torch.float32 else dict(rtol=2e-2, atol=1e-4)
    for _ in range(2):
        for _ in range(4):
            label = torch.randint(classes, (64,), device='cuda')
            scores = torch.randn(64, classes, device='cuda')
            scores[::2].scatter_add_(1, label[::2, None], scores.new_full((32, 1), 12))
            scores = scores.to(dtype).requires_grad_()
            label[3] = -100
            assert_close(step(fused, scores, label), step(plain, scores, label), **close)
        assert fused.correct_count.sum() > 0
        assert_close(fused.state_dict(), plain.state_dict())
        plain.update_soft_labels()
        fused.update_soft_labels()
    assert fused.implementation == 'fused'  # which it keeps unless the kernel cannot be made


@pytest.mark.parametrize('form', [{}, FUSED], ids=['plain', 'fused'])
def test_the_fused_form_on_the_cpu_and_the_one_on_a_gpu_agree(form):
    here, there = OLSLoss(C), OLSLoss(C, **form).cuda()
    for scores, label in batches(3):
        on_cpu = step(here, scores.detach().cpu().requires_grad_(), label.cpu())
        assert_close(tuple(part.cpu() for part in step(there, scores, label)), on_cpu)
    assert_close(
        {name: value.cpu() for name, value in there.state_dict().items()}, here.state_dict()
    )
