"""OLSSingleLoss: whom a sample learns from, and its bank in a training and in a checkpoint."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from test_losses.harness import C as CLASSES
from test_losses.harness import LossContract, Method, fixed_soft_labels, soft_label_loop
from torch import nn
from torch.testing import assert_close
from toy_runner import EMA, NUM_BATCHES, ToyClassifier, make_batches, train

from mmdet_ols import OLSLoss, OLSSingleLoss

C = 4


def with_fixed_banks(**options):
    """Of as many places as the class's number plus one, and all that are drawn are the same."""
    criterion = OLSSingleLoss(CLASSES, bank_size=CLASSES + 2, **options)
    bank = criterion.state.bank
    bank.copy_(fixed_soft_labels(criterion)[:, None].expand_as(bank))
    criterion.state.bank_count.copy_(torch.arange(criterion.num_columns) + 1)
    for column in range(criterion.num_columns):
        bank[column, column + 1 :] = 100  # never to be drawn
    if criterion.background:
        criterion.state.bank_count[-1] = 0
    criterion.soft_labels[:CLASSES] = 100  # not in use where there is a bank
    return criterion


class TestOLSSingleLoss(LossContract):
    methods = {
        # A row's partner is drawn; what is drawn is tested below.
        'OLS-Single': Method(partial(with_fixed_banks, alpha=0.3), soft_label_loop, rows=False),
    }
    neutral = {
        'alpha 1': partial(with_fixed_banks, alpha=1.0),
    }


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (
            partial(OLSSingleLoss, CLASSES, bank_size=0),
            '`bank_size` must be a positive integer.* got 0',
        ),
        (
            partial(OLSSingleLoss, CLASSES, bank_size=2.0),
            '`bank_size` must be a positive .* got 2.0',
        ),
        (
            partial(OLSSingleLoss, CLASSES, freeze_confidence=0.88),
            '`freeze_confidence` is a rule for the mean of a class.* got 0.88: leave it out',
        ),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_training_learns_from_last_epochs_predictions_of_the_same_class():
    """Every sample's loss is that of one of them, and in the first epoch OLS's."""
    label = torch.arange(24) % 3  # none of class 3
    model = nn.Linear(C, C)
    features = 1.5 * torch.eye(C)[label] + torch.randn(24, C)
    criterion = OLSSingleLoss(C, alpha=0.3, reduction='none')
    uniform = torch.full((C,), 1 / C)
    partners = {y: [uniform] for y in range(3)}
    for epoch in range(3):
        correct = {y: [] for y in range(3)}
        for batch in torch.randperm(24).split(6):
            scores = model(features[batch])
            losses = criterion(scores, label[batch])
            for z, y, loss in zip(scores, label[batch].tolist(), losses):
                hard, log_p = -z.log_softmax(0)[y], z.log_softmax(0)
                possible = torch.stack([0.3 * hard - 0.7 * (q * log_p).sum() for q in partners[y]])
                assert (possible - loss).abs().min() < 1e-6
                if z.argmax() == y:
                    correct[y].append(z.softmax(0).detach())
            model.zero_grad()
            losses.mean().backward()
            with torch.no_grad():
                model.weight -= model.weight.grad
        criterion.update_soft_labels()
        partners = {y: rows or [uniform] for y, rows in correct.items()}
        assert epoch == 2 or any(len(rows) > 1 for rows in partners.values())


def with_banks(**options):
    criterion = OLSSingleLoss(C, 0.4, bank_size=3, reduction='none', **options)
    state = criterion.state
    state.bank.copy_(torch.rand(C, 3, C).softmax(-1))
    state.bank_count.copy_(torch.tensor([3.0, 3, 3, 0]))
    means = state.bank.mean(1)
    means[3] = 1 / C
    criterion.soft_labels.copy_(means)
    return criterion


@pytest.mark.parametrize('use_sigmoid', [False, True])
@pytest.mark.parametrize('rows', [False, True])
def test_on_average_it_is_ols(rows, use_sigmoid):
    n, criterion = 5000, with_banks(use_sigmoid=use_sigmoid)
    ols = OLSLoss(C, 0.4, reduction='none', use_sigmoid=use_sigmoid)
    ols.soft_labels.copy_(criterion.soft_labels)
    for y in range(C):
        scores, label = torch.randn(C), torch.tensor(y)
        if rows:
            label = 0.7 * F.one_hot(label, C) + 0.2 * F.one_hot((label + 1) % C, C)
        expected = ols(scores[None], label[None])
        with torch.no_grad():  # else it learned
            losses = criterion(scores.expand(n, C), label.expand(n, *label.shape))
        error = losses.std(0) / n**0.5
        assert error.max() > 0 or (y == 3 and not rows)
        # Six standard errors, and the rounding of a mean.
        assert ((losses.mean(0) - expected[0]).abs() <= 6 * error + 1e-4).all()


def test_a_mixed_row_has_one_partner_drawn_by_the_shares():
    criterion, n = with_banks(), 20000
    criterion.alpha = 0.0
    criterion.state.bank.copy_(torch.eye(C)[:, None].expand(C, 3, C))
    row = torch.tensor([0.5, 0, 0.3, 0])  # as scaled by an IoU
    scores = torch.tensor([0.0, 1, 2, 3])
    with torch.no_grad():
        losses = criterion(scores.expand(n, C), row.expand(n, C))
    of_class = -0.8 * scores.log_softmax(0)
    drawn = (losses[:, None] - of_class).abs().argmin(1)
    assert_close(losses, of_class[drawn])
    share = drawn.bincount(minlength=C) / n
    assert_close(share, torch.tensor([5 / 8, 0, 3 / 8, 0]), rtol=0, atol=6 * 0.5 / n**0.5)
    assert share[1] == share[3] == 0


def test_evaluation_draws_nothing():
    criterion = with_banks().eval()
    ols = OLSLoss(C, 0.4, reduction='none')
    ols.soft_labels.copy_(criterion.soft_labels)
    scores, label = torch.randn(9, C), torch.randint(C, (9,))
    numbers = torch.get_rng_state()
    before = {name: value.clone() for name, value in criterion.state_dict().items()}
    assert_close(criterion(scores, label), ols(scores, label))
    assert_close(dict(criterion.state_dict()), before)
    assert torch.equal(torch.get_rng_state(), numbers)


# --- in MMEngine ---------------------------------------------------------------------------------
# The weights are held still and the banks are large enough for all, so that what is in them does
# not depend on the random numbers, but for its order.

SINGLE = dict(type='OLSSingleLoss', num_classes=4, background=True, bank_size=60)
STILL = dict(loss=SINGLE, lr=0.0)


def saved(path, name):
    state = torch.load(path, map_location='cpu', weights_only=False)['state_dict']
    return state[f'losses.head.state.{name}']


def in_order(bank):
    """Rows of each class in an order of their own; the empty ones, zeros, first."""
    return torch.stack([rows[rows[:, 0].argsort()] for rows in bank])


def test_bank_holds_the_correct_predictions_of_an_epoch(tmp_path):
    train(tmp_path, make_batches(), epochs=1, save=dict(interval=1), **STILL)
    head = ToyClassifier(SINGLE).heads['head']
    expected = torch.zeros(5, 60, 5)
    count = [0] * 5
    for batch in make_batches():
        for inputs, y in zip(batch['inputs'], batch['label'].tolist()):
            scores = head(inputs).detach()
            if y < 4 and scores[:4].argmax() == y:
                expected[y, count[y]] = scores.softmax(0)
                count[y] += 1
    assert min(count[:3]) > 1 and max(count) < 60
    bank = saved(tmp_path / 'epoch_1.pth', 'bank')
    assert_close(in_order(bank), in_order(expected))
    assert saved(tmp_path / 'epoch_1.pth', 'bank_count').tolist() == count
    assert not saved(tmp_path / 'epoch_1.pth', 'reservoir').any()


@pytest.mark.parametrize('hooks', EMA.values(), ids=EMA)
def test_resuming_in_the_middle_of_a_period(tmp_path, hooks):
    arguments = dict(
        iters=8,
        ols=dict(by_epoch=False, interval=4),
        save=dict(by_epoch=False, interval=2),
        hooks=hooks,
        **STILL,
    )
    batches = make_batches(8)
    train(tmp_path / 'whole', batches, **arguments)
    start = tmp_path / 'whole' / 'iter_6.pth'
    assert saved(start, 'bank_count').any() and saved(start, 'reservoir_key').any()
    train(tmp_path / 'resumed', batches, resume_from=start, **arguments)
    for name in ('bank', 'bank_count'):
        whole, resumed = (
            saved(tmp_path / run / 'iter_8.pth', name) for run in ('whole', 'resumed')
        )
        assert whole.any()
        if name == 'bank':
            whole, resumed = in_order(whole), in_order(resumed)
        assert_close(resumed, whole)


def test_a_replayed_epoch_counts_once_and_a_new_training_brings_no_reservoir(tmp_path):
    arguments = dict(epochs=2, save=dict(by_epoch=False, interval=1), **STILL)
    train(tmp_path / 'whole', make_batches(), **arguments)
    cut_short = tmp_path / 'whole' / f'iter_{NUM_BATCHES + 2}.pth'
    assert not saved(cut_short, 'reservoir_key').any() and saved(cut_short, 'bank_count').any()

    # At an iteration-based loop's middle the reservoir is kept; not for a new training.
    arguments = dict(iters=3, ols=dict(by_epoch=False, interval=2), **STILL)
    train(tmp_path / 'first', make_batches(), save=dict(by_epoch=False, interval=1), **arguments)
    middle = tmp_path / 'first' / 'iter_3.pth'
    assert saved(middle, 'reservoir_key').any()
    arguments['ols']['interval'] = 100
    save = dict(by_epoch=False, interval=1)
    train(tmp_path / 'new', make_batches(), load_from=middle, save=save, **arguments)
    train(tmp_path / 'scratch', make_batches(), save=save, **arguments)
    new, scratch = (tmp_path / run / 'iter_3.pth' for run in ('new', 'scratch'))
    assert_close(saved(new, 'bank'), saved(middle, 'bank'))
    assert_close(in_order(saved(new, 'reservoir')), in_order(saved(scratch, 'reservoir')))
