"""A fixed amount of smoothing, which the soft labels only spread; and hard labels at the start."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from reference import Reference
from test_losses.steps import FORMS, C, with_random_soft_labels
from torch.testing import assert_close

from mmdet_ols import OLSLoss, OLSSparseLoss, no_teaching


def target_of(criterion, label):
    """The target that the loss pulls towards: where its gradient is 0."""
    scores = torch.zeros(len(label), criterion.num_columns, requires_grad=True)
    with no_teaching():
        loss = criterion(scores, label, reduction_override='none').sum()
    return scores.softmax(-1).detach() - torch.autograd.grad(loss, scores)[0]


@FORMS
@pytest.mark.parametrize('background', [False, True])
@pytest.mark.parametrize('start', ['uniform', 'hard'])
@pytest.mark.filterwarnings('ignore:.*have no background column')
def test_rows_and_background_equal_the_loop(start, background, use_sigmoid):
    options = dict(smoothing=0.3, start=start, background=background, use_sigmoid=use_sigmoid)
    criterion, naive = OLSLoss(C, **options, reduction='none'), Reference(C, **options)
    columns = criterion.num_columns
    soft_labels = torch.rand(columns, columns)
    soft_labels[1] = 3.0 * F.one_hot(torch.tensor(1), columns)  # names no other class
    soft_labels[C:] = F.one_hot(torch.tensor(columns - 1), columns)  # of the background, if any
    criterion.soft_labels.copy_(soft_labels)
    naive.soft_labels = criterion.soft_labels.tolist()
    scores = torch.randn(9, columns, requires_grad=True)
    rows = 0.6 * F.one_hot(torch.arange(9) % columns, columns)
    rows += 0.4 * F.one_hot(torch.arange(9) // 2 % columns, columns)
    rows[8] = 0
    for labels in (torch.arange(9) % columns, rows):
        loss = criterion(scores, labels)
        terms = torch.stack(
            [torch.stack(naive.loss(z, y)) for z, y in zip(scores, labels.tolist())]
        )
        assert_close(loss, terms if use_sigmoid else terms.sum(1), rtol=1e-5, atol=1e-6)
        gradients = [torch.autograd.grad(x.sum(), scores)[0] for x in (loss, terms)]
        assert_close(*gradients, rtol=1e-5, atol=1e-6)


def test_the_soft_label_says_only_how_it_is_spread():
    """Its own entry does not matter, nor does the sum of its row."""
    first, second = (OLSLoss(C, smoothing=0.2) for _ in range(2))
    with_random_soft_labels(first)
    second.soft_labels.copy_(7 * first.soft_labels).fill_diagonal_(0.01)
    label = torch.arange(C)
    target = target_of(first, label)
    assert_close(target, target_of(second, label))
    assert_close(target.diagonal(), torch.full((C,), 0.8))
    assert_close(target.sum(1), torch.ones(C))


def test_without_soft_labels_it_is_label_smoothing():
    label = torch.arange(C)
    uniform = 0.2 / (C - 1) + (0.8 - 0.2 / (C - 1)) * torch.eye(C)
    for start in ('uniform', 'zeros', 'label_smoothing'):
        assert_close(target_of(OLSLoss(C, smoothing=0.2, start=start), label), uniform)


def test_nothing_is_smoothed_with_an_amount_of_0_or_a_single_class():
    scores, label = torch.randn(8, C), torch.randint(C, (8,))
    criterion = with_random_soft_labels(OLSLoss(C, smoothing=0))
    assert_close(criterion(scores, label), F.cross_entropy(scores, label))
    assert_close(target_of(OLSLoss(1, smoothing=0.3), torch.zeros(2, dtype=int)), torch.ones(2, 1))


@pytest.mark.parametrize('make', [OLSLoss, lambda c, **k: OLSSparseLoss(c, top_m=2, **k)])
def test_a_class_is_hard_until_it_was_recognised(make):
    criterion = make(C, start='hard')
    label = torch.arange(C)
    assert_close(target_of(criterion, label), torch.eye(C))
    scores = torch.randn(C, C)
    scores[0, 0], scores[1:] = 9, 9 * F.one_hot((label + 1) % C, C)[1:].float()  # one is right
    criterion(scores, label)
    for _ in range(2):  # the second period has no sample at all
        criterion.update_soft_labels()
        target = target_of(criterion, label)
        assert_close(target[1:], torch.eye(C)[1:])
        assert target[0, 0] < 1


def test_both_at_once():
    criterion = OLSLoss(C, start='hard', smoothing=0.3)
    criterion.soft_labels[0] = torch.tensor([0.6, 0.3, 0.1, 0, 0])
    expected = torch.eye(C)
    expected[0] = torch.tensor([0.7, 0.225, 0.075, 0, 0])
    assert_close(target_of(criterion, torch.arange(C)), expected)


def test_it_is_computed_plainly_where_the_fused_form_is_asked_for():
    plain, fused = (OLSLoss(C, smoothing=0.3, implementation=i) for i in ('plain', 'fused'))
    scores, label = torch.randn(8, C, requires_grad=True), torch.randint(C, (8,))
    for _ in range(2):
        assert_close(fused(scores, label), plain(scores, label), rtol=0, atol=0)
        assert_close(dict(fused.state_dict()), dict(plain.state_dict()), rtol=0, atol=0)
        fused.update_soft_labels()
        plain.update_soft_labels()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(smoothing=1.2), r'`smoothing`, the share of the other classes, .*\[0, 1\].* 1.2'),
        (dict(smoothing=0.1, alpha=0.7), 'takes the place of `alpha`.* alpha=0.7'),
        (dict(start='hard', freeze_confidence=0.9), "`freeze_confidence` would never let start='h"),
    ],
)
def test_what_means_nothing_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        OLSLoss(C, **options)
