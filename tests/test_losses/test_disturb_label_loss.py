"""DisturbLabelLoss: which labels are redrawn."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from test_losses.harness import C, LossContract, Method, hard_loop
from torch.testing import assert_close

from mmdet_ols import DisturbLabelLoss, LSLoss


class TestDisturbLabelLoss(LossContract):
    methods = {
        # What is drawn in training is tested below.
        'DisturbLabel in evaluation': Method(
            lambda **options: DisturbLabelLoss(C, 0.5, **options).eval(), hard_loop
        ),
    }
    neutral = {
        'rate 0': partial(DisturbLabelLoss, C, 0.0),
    }


def drawn_classes(criterion, label, columns=C):
    """The classes that were trained on: scores whose losses tell the class."""
    scores = torch.arange(float(columns)).log1p().expand(label.shape[0], columns)
    loss = criterion(scores, label)
    return (loss[:, None] - -scores.log_softmax(-1)).abs().argmin(1), loss


def drawn_with_seed(batches, rate):
    """The classes that a process trains on instead of the labels `batches`; all have one seed."""
    torch.manual_seed(0)
    return drawn_classes(DisturbLabelLoss(C, rate, reduction='none'), batches)[0]


@pytest.mark.parametrize('rows', [False, True])
def test_disturbed_labels_follow_their_distribution(rows):
    n, rate = 20000, 0.4
    label = torch.full((n,), 2)
    label = F.one_hot(label, C) if rows else label
    criterion = DisturbLabelLoss(C, rate, reduction='none')
    drawn, _ = drawn_classes(criterion, label)
    expected = torch.full((C,), rate / C)
    expected[2] = 1 - (C - 1) / C * rate
    # Six standard deviations of a share.
    assert_close(drawn.bincount(minlength=C) / n, expected, rtol=0, atol=6 * 0.5 / n**0.5)
    again, _ = drawn_classes(criterion, label)
    assert not torch.equal(again, drawn)  # again each time


def test_disturbed_labels_can_be_repeated():
    criterion, label = DisturbLabelLoss(C, 0.5, reduction='none'), torch.arange(100) % C
    results = []
    for seed in (1, 2, 1):
        torch.manual_seed(seed)
        results.append(drawn_classes(criterion, label)[0])
    assert torch.equal(results[0], results[2]) and not torch.equal(results[0], results[1])


def test_what_is_never_disturbed():
    label = torch.cat([torch.full((200,), C), torch.arange(200) % C])
    criterion = DisturbLabelLoss(C, 1.0, background=True, reduction='none')
    drawn, loss = drawn_classes(criterion, label, C + 1)
    assert (drawn[:200] == C).all() and (drawn[200:] < C).all()
    assert_close(
        loss, drawn_classes(LSLoss(C, 0.0, background=True, reduction='none'), drawn, C + 1)[1]
    )
    assert drawn[200:].unique().tolist() == list(range(C))

    # Negatives and ignored samples of a sigmoid head.
    criterion = DisturbLabelLoss(C, 1.0, use_sigmoid=True, reduction='none')
    scores = torch.randn(3, C)
    loss = criterion(scores, torch.tensor([C, -100, C]))
    assert_close(loss, F.softplus(scores) * torch.tensor([[1.0], [0], [1]]))


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (
            partial(DisturbLabelLoss, C, 10),
            r'`rate`.*must be in \[0, 1\], but got 10: 10 % are 0.1',
        ),
        (partial(DisturbLabelLoss, C, -0.1), r'`rate`.*must be in \[0, 1\], but got -0.1'),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
