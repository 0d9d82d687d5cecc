"""Which samples of a call teach an OLSLoss, and how often."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from test_losses.steps import FORMS, C, tensors, with_random_soft_labels
from torch.testing import assert_close

from mmdet_ols import OLSLoss, OLSSingleLoss, OLSSparseLoss


def correct(n, columns=C):
    """n samples that are right about the classes 0, 1, 2, ..."""
    label = torch.arange(n) % C
    return 5.0 * F.one_hot(label, columns), label


@FORMS
@pytest.mark.parametrize(
    ('label', 'weight', 'kwargs'),
    [
        ([0, 1, -100], None, {}),
        ([0, 1, 2], [1.0, 1, 0], {}),
        ([0, 1, 255], None, dict(ignore_index=255)),
        ([0, 1, 2], None, dict(ignore_index=2)),
    ],
    ids=['ignored', 'weight 0', 'ignored per call', 'ignored class'],
)
def test_sample_that_does_not_count_does_not_teach(label, weight, kwargs, use_sigmoid):
    criterion = OLSLoss(C, use_sigmoid=use_sigmoid)
    weight = None if weight is None else torch.tensor(weight)
    criterion(correct(3)[0], torch.tensor(label), weight, **kwargs)
    assert_close(criterion.sample_count, torch.tensor([1.0, 1, 0, 0, 0]))
    assert_close(criterion.correct_count, torch.tensor([1.0, 1, 0, 0, 0]))


@pytest.mark.parametrize('ignored', [0, 1])
def test_configured_ignore_index_does_not_teach(ignored):
    criterion = OLSLoss(C, ignore_index=ignored)
    criterion(*correct(3))
    expected = [1.0 if y < 3 and y != ignored else 0.0 for y in range(C)]
    assert criterion.sample_count.tolist() == expected


def test_background_does_not_teach():
    softmax = OLSLoss(C, background=True)
    scores, label = correct(3, C + 1)
    softmax(torch.cat([scores, torch.eye(C + 1)[[C]]]), torch.cat([label, torch.tensor([C])]))
    assert_close(softmax.sample_count, torch.tensor([1.0, 1, 1, 0, 0, 0]))
    assert_close(softmax.correct_count, softmax.sample_count)

    sigmoid = OLSLoss(C, use_sigmoid=True)
    sigmoid(correct(3)[0], torch.tensor([0, 1, C]))
    assert_close(sigmoid.sample_count, torch.tensor([1.0, 1, 0, 0, 0]))


def test_background_row_does_not_teach():
    criterion = OLSLoss(C, background=True)
    criterion(torch.eye(C + 1), torch.eye(C + 1))
    assert_close(criterion.sample_count, torch.tensor([1.0] * C + [0]))


def test_foreground_column_decides_in_a_softmax_detector():
    criterion = OLSLoss(C, background=True)
    scores = torch.tensor([[2.0, 1, 0, 0, 0, 9], [1.0, 2, 0, 0, 0, 0]])
    criterion(scores, torch.tensor([0, 0]))
    assert_close(criterion.correct_count[0], torch.tensor(1.0))
    assert_close(criterion.prob_sum[0], scores[0].softmax(0))


@FORMS
@pytest.mark.parametrize(('share', 'teaches'), [(0.79, 0.0), (0.8, 1.0), (0.81, 1.0)])
@pytest.mark.parametrize('scale', [1, 0.25])  # 0.25: as YOLOX's IoU scales a row
def test_soft_row_teaches_its_largest_class_from_the_threshold_on(
    scale, share, teaches, use_sigmoid
):
    criterion = OLSLoss(C, use_sigmoid=use_sigmoid)
    row = scale * torch.tensor([[1 - share, 0, share, 0, 0]])
    criterion(torch.tensor([[0.0, 0, 5, 0, 0]]), row)
    assert_close(criterion.sample_count, torch.tensor([0, 0, teaches, 0, 0]))
    assert_close(criterion.correct_count, torch.tensor([0, 0, teaches, 0, 0]))


@FORMS
def test_sample_counts_once_whatever_its_weight(use_sigmoid):
    scores, label = torch.randn(30, C), torch.randint(C, (30,))
    plain, weighted = (OLSLoss(C, use_sigmoid=use_sigmoid) for _ in range(2))
    plain(scores, label)
    weighted(scores, label, 0.01 + 7 * torch.rand(30))
    assert plain.correct_count.sum() > 0
    assert_close(tensors(weighted), tensors(plain))


def test_score_wise_weight_lets_a_sample_teach_if_any_score_counts():
    criterion = OLSLoss(C, use_sigmoid=True)
    weight = torch.ones(3, C)
    weight[1, :4] = 0
    weight[2] = 0
    criterion(*correct(3), weight)
    assert_close(criterion.sample_count, torch.tensor([1.0, 1, 0, 0, 0]))


def test_yolo_layout_teaches_exactly_the_positives():
    """(B, anchors, C), zero rows for negatives, and a weight of 0 where an anchor is ignored."""
    criterion = OLSLoss(C, use_sigmoid=True, reduction='sum')
    scores = torch.randn(2, 50, C)
    rows = torch.zeros(2, 50, C)
    positives = [(0, 3, 1), (0, 4, 1), (1, 0, 2), (1, 49, 4)]
    for image, anchor, y in positives:
        rows[image, anchor, y] = 1
        scores[image, anchor, y] = 6
    rows[1, 7, 0] = 1
    weight = torch.ones(2, 50, 1)
    weight[1, 7] = 0

    criterion(scores, rows, weight)

    assert_close(criterion.sample_count, torch.tensor([0.0, 2, 1, 0, 1]))
    assert_close(criterion.correct_count, criterion.sample_count)
    expected = torch.zeros(C, C)
    for image, anchor, y in positives:
        expected[y] += scores[image, anchor].sigmoid()
    assert_close(criterion.prob_sum, expected)


@FORMS
def test_leading_shape_is_only_a_shape(use_sigmoid):
    scores, label = torch.randn(24, C), torch.randint(C, (24,))
    weight = torch.rand(24)
    flat, shaped = (OLSLoss(C, use_sigmoid=use_sigmoid, reduction='none') for _ in range(2))
    expected = flat(scores, label, weight)
    got = shaped(scores.view(2, 3, 4, C), label.view(2, 3, 4), weight.view(2, 3, 4))
    assert_close(got, expected.view(2, 3, 4, *expected.shape[1:]))
    assert_close(tensors(shaped), tensors(flat))


def test_evaluation_computes_the_same_loss_and_learns_nothing():
    criterion = with_random_soft_labels(OLSLoss(C))
    scores, label = correct(8)
    before = tensors(criterion)
    evaluated = criterion.eval()(scores, label)
    assert_close(tensors(criterion), before)
    assert_close(evaluated, criterion.train()(scores, label))
    assert_close(criterion.correct_count.sum(), torch.tensor(8.0))


@FORMS
@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf])
def test_overflowing_row_does_not_poison_the_state(value, use_sigmoid):
    criterion = OLSLoss(C, use_sigmoid=use_sigmoid)
    scores, label = correct(4)
    scores[1, 1] = value
    scores[3, 0] = value
    criterion(scores, label)
    assert_close(criterion.sample_count, torch.tensor([1.0, 0, 1, 0, 0]))
    criterion.update_soft_labels()
    assert_close(criterion.soft_labels.sum(1), torch.ones(C))


@FORMS
@pytest.mark.parametrize('rows', [False, True])
def test_empty_batch_costs_nothing_and_has_a_graph(rows, use_sigmoid):
    criterion = OLSLoss(C, use_sigmoid=use_sigmoid, avg_non_ignore=True)
    before = tensors(criterion)
    scores = torch.zeros(0, C, requires_grad=True)
    label = torch.zeros(0, C) if rows else torch.zeros(0, dtype=int)
    loss = criterion(scores, label, weight=torch.zeros(0))
    assert_close(loss, torch.tensor(0.0))
    assert torch.autograd.grad(loss, scores)[0].shape == (0, C)
    assert_close(tensors(criterion), before)


def test_a_weight_of_every_score_may_come_flat():
    """As FSAF's head sends it."""
    rows, flat = (OLSLoss(C, use_sigmoid=True) for _ in range(2))
    scores, label = torch.randn(8, C), torch.randint(C, (8,))
    weight = torch.rand(8, C) * (torch.rand(8, 1) < 0.6)
    assert_close(rows(scores, label, weight), flat(scores, label, weight.flatten()))
    assert 0 < rows.sample_count.sum() < 8
    assert_close(tensors(rows), tensors(flat))


@FORMS
def test_a_call_without_a_graph_teaches_nothing(use_sigmoid):
    """OHEM tries the loss out before it is trained on."""
    once, twice = (OLSLoss(C, use_sigmoid=use_sigmoid) for _ in range(2))
    scores, label = torch.randn(8, C), torch.randint(C, (8,))
    with torch.no_grad():
        tried = twice(scores, label)
    assert_close(once(scores, label), tried)
    twice(scores, label)
    assert once.sample_count.sum() == 8
    assert_close(tensors(once), tensors(twice))


@FORMS
@pytest.mark.parametrize('head', ['PISA', 'PAA'])
def test_a_head_that_tries_the_loss_out_teaches_nothing(head, use_sigmoid):
    criterion = OLSLoss(C, use_sigmoid=use_sigmoid)
    scores, label = torch.randn(8, C, requires_grad=True), torch.randint(C, (8,))
    if head == 'PISA':
        call = dict(cls_score=scores.detach())
    else:
        call = dict(cls_score=scores, weight=torch.ones(8), avg_factor=1.0)
    tried = criterion(label=label, reduction_override='none', **call)
    assert criterion.sample_count.sum() == 0
    assert_close(tried, OLSLoss(C, use_sigmoid=use_sigmoid, reduction='none')(scores, label))


@pytest.mark.parametrize('reduction', ['mean', 'none'])
def test_element_wise_losses_that_are_trained_on_teach(reduction):
    """As in a loop that weighs them by itself, and in FSAF's head."""
    criterion = OLSLoss(C, reduction=reduction)
    scores, label = torch.randn(8, C, requires_grad=True), torch.randint(C, (8,))
    call = dict(reduction_override='none')
    if reduction == 'none':
        call = dict(weight=torch.ones(8), avg_factor=3.0)
    criterion(scores, label, **call)
    assert criterion.sample_count.sum() == 8


@pytest.mark.parametrize(
    'make',
    [
        lambda: OLSLoss(C, start='zeros', empty_class='uniform'),
        lambda: OLSSparseLoss(C, top_m=2, empty_class='uniform'),
        lambda: OLSSingleLoss(C),
    ],
)
def test_a_second_roll_over_of_an_epoch_keeps_the_soft_labels(make):
    """Such as of a loop that has one after the last step and one after the epoch."""
    criterion = make()
    scores = torch.randn(20, C)
    criterion(scores, scores.argmax(1))
    criterion.update_soft_labels()
    before = criterion.soft_labels.clone()
    report = criterion.update_soft_labels()
    assert report.correct_share.isnan()
    assert_close(criterion.soft_labels, before, rtol=0, atol=0)
