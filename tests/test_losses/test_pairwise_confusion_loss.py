"""PairwiseConfusionLoss: the distance between the halves of a batch."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from test_losses.harness import C, LossContract, Method, hard_loop, softmax
from torch.testing import assert_close

from mmdet_ols import PairwiseConfusionLoss


def confusion_loop(scores, rows, sigmoid, form, weight, inputs='logits'):
    """Shares of which R is the mean over the batch."""
    compared = [softmax(z) if inputs == 'softmax' else list(z) for z in scores]
    n, half = len(rows), len(rows) // 2
    shares = [0.0] * n
    pairs = [(i, i + half) for i in range(half) if sum(rows[i]) > 0 and sum(rows[i + half]) > 0]
    if form == 'ols':
        total = 0
        for k in range(len(rows[0])):
            squares = [(compared[i][k] - compared[j][k]) ** 2 for i, j in pairs]
            total = total + sum(squares) ** 0.5
        shares = [total / n if sum(row) > 0 else 0.0 for row in rows]
    for i, j in pairs:
        square = sum((a - b) ** 2 for a, b in zip(compared[i], compared[j]))
        if form == 'released':
            shares[i] = shares[j] = square**0.5 / 2
        elif form == 'paper' and rows[i] != rows[j]:
            shares[i] = shares[j] = square / 2
    return [loss + weight * share for loss, share in zip(hard_loop(scores, rows, sigmoid), shares)]


class TestPairwiseConfusionLoss(LossContract):
    methods = {
        'PC': Method(
            partial(PairwiseConfusionLoss, C),
            partial(confusion_loop, form='ols', weight=0.5),
            sigmoid=False,
            background=False,
        ),
        'PC, released': Method(
            partial(PairwiseConfusionLoss, C, 'released', 2.0),
            partial(confusion_loop, form='released', weight=2.0),
            sigmoid=False,
            background=False,
        ),
        'PC, released, softmax': Method(
            partial(PairwiseConfusionLoss, C, 'released', inputs='softmax'),
            partial(confusion_loop, form='released', weight=0.5, inputs='softmax'),
            sigmoid=False,
            background=False,
        ),
        'PC, paper': Method(
            partial(PairwiseConfusionLoss, C, 'paper'),
            partial(confusion_loop, form='paper', weight=0.5, inputs='softmax'),
            sigmoid=False,
            background=False,
            rows=False,
        ),
    }
    neutral = {
        'weight 0': partial(PairwiseConfusionLoss, C, 'ols', 0.0),
        'released, weight 0': partial(PairwiseConfusionLoss, C, 'released', 0.0),
    }
    neutral_under_sigmoid = False


def test_pairs_of_a_batch_by_hand():
    """Scores (3, 0) and (0, 4) differ by 5; one of the second pair is ignored, the last alone."""
    scores = torch.tensor([[3.0, 0], [9, 1], [0, 4], [0, 0], [5, 5]])
    label = torch.tensor([0, -100, 1, 1, 0])

    def confusion(form, label=label, **options):
        criterion = PairwiseConfusionLoss(2, form, 1.0, reduction='none', **options)
        plain = PairwiseConfusionLoss(2, form, 0.0, reduction='none', **options)
        return criterion(scores, label) - plain(scores, label)

    assert_close(confusion('ols'), torch.tensor([1, 0, 1, 1, 1]) * (3 + 4) / 5)
    assert_close(confusion('released'), torch.tensor([2.5, 0, 2.5, 0, 0]))
    assert_close(confusion('paper', inputs='logits'), torch.tensor([12.5, 0, 12.5, 0, 0]))
    same = torch.tensor([0, -100, 0, 1, 0])
    assert_close(confusion('paper', same, inputs='logits'), torch.zeros(5))


def test_a_single_sample_has_no_pair_and_equal_ones_no_gradient():
    for form in ('ols', 'released', 'paper'):
        criterion = PairwiseConfusionLoss(C, form)
        scores, label = torch.randn(1, C), torch.tensor([1])
        assert_close(criterion(scores, label), F.cross_entropy(scores, label))
        scores = torch.ones(4, C, requires_grad=True)
        label = torch.tensor([0, 1, 2, 3])
        loss = criterion(scores, label)
        expected = F.cross_entropy(scores, label)
        gradients = [torch.autograd.grad(value, scores)[0] for value in (loss, expected)]
        assert_close(*gradients)


def test_rows_have_no_pairs_of_different_classes():
    criterion = PairwiseConfusionLoss(C, 'paper')
    with pytest.raises(ValueError, match="form='paper'.*looks for pairs.*rows.*form='ols'"):
        criterion(torch.zeros(4, C), torch.eye(C)[:4])


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (partial(PairwiseConfusionLoss, C, 'l2'), r"`form` must be one of .*'ols'.* got 'l2'"),
        (
            partial(PairwiseConfusionLoss, C, 'ols', -1),
            '`confusion_weight` must be at least 0, .* -1',
        ),
        (
            partial(PairwiseConfusionLoss, C, inputs='features'),
            r"`inputs` must be one of \('logits', 'softmax'\), but got 'features'",
        ),
        (
            partial(PairwiseConfusionLoss, C, use_sigmoid=True),
            'PairwiseConfusionLoss compares whole images .* use_sigmoid=True, background=False',
        ),
        (
            partial(PairwiseConfusionLoss, C, background=True),
            'PairwiseConfusionLoss compares whole images .* background=True: leave these out',
        ),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
