"""Every method against a loop over samples, and what all of them have in common.

A new method is one entry in `METHODS`: how it is made, its loop, and what it cannot take.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Callable, NamedTuple
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.testing import assert_close

import mmdet_ols
from mmdet_ols import (
    BootstrapLoss,
    DisturbLabelLoss,
    LSLoss,
    OLSLoss,
    OLSSingleLoss,
    OLSSparseLoss,
    PairwiseConfusionLoss,
    SCELoss,
    TfKDRegLoss,
)
from mmdet_ols.losses.classification_loss import ClassificationLoss

N, C = 23, 5  # odd
# Not symmetric, so that swapped rows and columns show.
SOFT_LABELS = torch.tensor([[(3.0 * y + 2 * k) % 7 + 1 for k in range(C + 1)] for y in range(C)])


# --- the loops -----------------------------------------------------------------------------------
# Each takes the scores of a batch and its labels as rows (lists of floats, zeros where there is no
# class) and gives what each sample costs: under softmax a scalar, under sigmoid one for each score.


def softmax(scores):
    exps = [torch.exp(z - max(scores).detach()) for z in scores]
    return [e / sum(exps) for e in exps]


def cross_entropy(p, row, sigmoid):
    """Against any row; one term for each score under sigmoid, whose p are independent."""
    if sigmoid:
        return [-q * torch.log(p_k) - (1 - q) * torch.log(1 - p_k) for q, p_k in zip(row, p)]
    return -sum(q * torch.log(p_k) for q, p_k in zip(row, p))


def probabilities(scores, sigmoid):
    return [1 / (1 + torch.exp(-z)) for z in scores] if sigmoid else softmax(scores)


def hard_loop(scores, rows, sigmoid):
    return [cross_entropy(probabilities(z, sigmoid), row, sigmoid) for z, row in zip(scores, rows)]


def smoothing_loop(scores, rows, sigmoid, epsilon):
    smooth = [[(1 - epsilon) * q + epsilon * sum(row) / len(row) for q in row] for row in rows]
    return hard_loop(scores, smooth, sigmoid)


def ols_loop(scores, rows, sigmoid, alpha, soft_labels):
    mixed = []
    for row in rows:
        soft = [sum(row[y] * soft_labels[y][k] for y in range(len(row))) for k in range(len(row))]
        mixed.append([alpha * q + (1 - alpha) * s for q, s in zip(row, soft)])
    return hard_loop(scores, mixed, sigmoid)


def bootstrap_loop(scores, rows, sigmoid, beta, mode, detach=False):
    losses = []
    for z, row in zip(scores, rows):
        p = probabilities(z, sigmoid)
        own = [p_k.detach() for p_k in p] if detach else p
        if mode == 'hard' and sigmoid:
            own = [1.0 if p_k > 0.5 else 0.0 for p_k in p]
        elif mode == 'hard':
            own = [
                1.0 if k == max(range(len(p)), key=lambda k: p[k]) else 0.0 for k in range(len(p))
            ]
        if not sigmoid:
            own = [sum(row) * share for share in own]
        target = [beta * q + (1 - beta) * share for q, share in zip(row, own)]
        losses.append(cross_entropy(p, target, sigmoid))
    return losses


def sce_loop(scores, rows, sigmoid, alpha, beta, clamped=False):
    def log(q):
        return math.log(max(q, 1e-4))

    losses = []
    for z, row in zip(scores, rows):
        p = probabilities(z, sigmoid)
        if sigmoid:
            reverse = [-p_k * log(q) - (1 - p_k) * log(1 - q) for p_k, q in zip(p, row)]
            forward = cross_entropy(p, row, sigmoid)
            losses.append([alpha * f + beta * r for f, r in zip(forward, reverse)])
            continue
        if sum(row) == 0:
            losses.append(0 * p[0])
            continue
        reverse = -sum(row) * sum(p_k * log(q / sum(row)) for p_k, q in zip(p, row))
        if clamped:
            row = [max(q, 1e-4 * sum(row)) for q in row]
        losses.append(alpha * cross_entropy(p, row, sigmoid) + beta * reverse)
    return losses


def tf_kd_loop(scores, rows, sigmoid, alpha, temperature, multiplier, over_classes):
    losses = []
    for z, row in zip(scores, rows):
        p = softmax(z)
        divergence = 0
        for y, share in enumerate(row):
            u = [0.99 if k == y else 0.01 / (len(row) - 1) for k in range(len(row))]
            exps = [math.exp(value / temperature) for value in u]
            v = [e / sum(exps) for e in exps]
            terms = [v_k * (math.log(v_k) - torch.log(p_k)) for v_k, p_k in zip(v, p)]
            divergence = divergence + share * sum(terms)
        if over_classes:
            divergence = divergence / len(row)
        hard = cross_entropy(p, row, sigmoid)
        losses.append((1 - alpha) * hard + alpha * multiplier * divergence)
    return losses


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


# --- the methods ---------------------------------------------------------------------------------


class Method(NamedTuple):
    make: Callable[..., ClassificationLoss]
    loop: Callable
    sigmoid: bool = True
    background: bool = True
    #: Whether the loop can do rows, too.
    rows: bool = True


def with_soft_labels(**options):
    criterion = OLSLoss(C, **options)
    criterion.soft_labels.copy_(fixed_soft_labels(criterion))
    return criterion


def with_banks(**options):
    """Of as many places as the class's number plus one, and all that are drawn are the same."""
    criterion = OLSSingleLoss(C, bank_size=C + 2, **options)
    bank = criterion.state.bank
    bank.copy_(fixed_soft_labels(criterion)[:, None].expand_as(bank))
    criterion.state.bank_count.copy_(torch.arange(criterion.num_columns) + 1)
    for column in range(criterion.num_columns):
        bank[column, column + 1 :] = 100  # never to be drawn
    if criterion.background:
        criterion.state.bank_count[-1] = 0
    criterion.soft_labels[:C] = 100  # not in use where there is a bank
    return criterion


def with_sparse_soft_labels(**options):
    """As many entries as columns: the target is that of `with_soft_labels`."""
    criterion = OLSSparseLoss(C, top_m=C + 1, **options)
    values, columns = fixed_soft_labels(criterion).sort(descending=True)
    criterion.state.soft_columns.copy_(columns)
    criterion.state.soft_values.copy_(values)
    return criterion


def fixed_soft_labels(criterion):
    size = criterion.num_columns
    rows = torch.zeros(size, size)
    rows[:C] = SOFT_LABELS[:, :size] / SOFT_LABELS[:, :size].sum(1, keepdim=True)
    if criterion.background:
        rows[-1, -1] = 1
    return rows


def soft_label_loop(scores, rows, sigmoid):
    criterion = OLSLoss(C, background=len(rows[0]) > C)
    return ols_loop(scores, rows, sigmoid, 0.3, fixed_soft_labels(criterion).tolist())


METHODS = {
    'LS': Method(partial(LSLoss, C, 0.2), partial(smoothing_loop, epsilon=0.2)),
    'OLS': Method(partial(with_soft_labels, alpha=0.3), soft_label_loop),
    'OLS, sparse': Method(partial(with_sparse_soft_labels, alpha=0.3), soft_label_loop),
    # A row's partner is drawn; what is drawn is tested below.
    'OLS-Single': Method(partial(with_banks, alpha=0.3), soft_label_loop, rows=False),
    'soft bootstrapping': Method(
        partial(BootstrapLoss, C), partial(bootstrap_loop, beta=0.95, mode='soft')
    ),
    'soft bootstrapping, detached': Method(
        partial(BootstrapLoss, C, beta=0.6, detach_target=True),
        partial(bootstrap_loop, beta=0.6, mode='soft', detach=True),
    ),
    'hard bootstrapping': Method(
        partial(BootstrapLoss, C, 'hard'), partial(bootstrap_loop, beta=0.8, mode='hard')
    ),
    # What is drawn in training is tested below.
    'DisturbLabel in evaluation': Method(
        lambda **options: DisturbLabelLoss(C, 0.5, **options).eval(), hard_loop
    ),
    'SCE': Method(partial(SCELoss, C), partial(sce_loop, alpha=6.0, beta=0.1)),
    'SCE, CIFAR-10': Method(partial(SCELoss, C, 0.1, 1.0), partial(sce_loop, alpha=0.1, beta=1.0)),
    'SCE, clamped': Method(
        partial(SCELoss, C, label='clamped'),
        partial(sce_loop, alpha=6.0, beta=0.1, clamped=True),
        sigmoid=False,
    ),
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
    'Tf-KD': Method(
        partial(TfKDRegLoss, C),
        partial(tf_kd_loop, alpha=0.95, temperature=40, multiplier=1, over_classes=True),
        sigmoid=False,
    ),
    'Tf-KD, fair': Method(
        partial(TfKDRegLoss, C, 0.4, 0.5, 3.0, 'fair'),
        partial(tf_kd_loop, alpha=0.4, temperature=0.5, multiplier=3, over_classes=False),
        sigmoid=False,
    ),
}
#: The form of the scores, as arguments of the loss.
SOFTMAX, SIGMOID, BACKGROUND = {}, dict(use_sigmoid=True), dict(background=True)
FORMS = {'softmax': SOFTMAX, 'sigmoid': SIGMOID, 'background': BACKGROUND}


def cases(choose=lambda method: True, forms=FORMS):
    """Each method in each form that it has."""
    return [
        pytest.param(method, FORMS[form], id=f'{name}, {form}')
        for name, method in METHODS.items()
        for form in forms
        if getattr(method, form, True) and choose(method)
    ]


def every_loss(forms=FORMS):
    return pytest.mark.parametrize(('method', 'form'), cases(forms=forms))


def test_no_registered_loss_is_forgotten():
    registered = {
        name
        for name in mmdet_ols.__all__
        if isinstance(cls := getattr(mmdet_ols, name), type) and issubclass(cls, ClassificationLoss)
    }
    assert {type(method.make()).__name__ for method in METHODS.values()} == registered


def takes(criterion, rows):
    return not (rows and getattr(criterion, 'form', None) == 'paper')


def random_rows(columns):
    """Mixed, one-hot, scaled and zero rows."""
    share = torch.rand(N, 1)
    rows = share * F.one_hot(torch.randint(columns, (N,)), columns)
    rows = rows + (1 - share) * F.one_hot(torch.randint(columns, (N,)), columns)
    rows[::4] = F.one_hot(torch.randint(columns, (len(rows[::4]),)), columns).float()
    rows[1::8] *= torch.rand(len(rows[1::8]), 1)
    rows[2::8] = 0
    return rows


def assert_equals_loop(loss, expected, scores):
    """Losses of single samples, (N,) or (N, C)."""
    expected = torch.stack([torch.stack(x) if isinstance(x, list) else x for x in expected])
    upstream = torch.linspace(0.5, 2, loss.numel(), dtype=loss.dtype).view_as(loss)
    gradients = [
        torch.autograd.grad(value, scores, upstream, retain_graph=True)[0]
        for value in (loss, expected.to(loss.dtype))
    ]
    assert gradients[1].abs().sum() > 0
    assert_close(
        [loss, gradients[0]], [expected.to(loss.dtype), gradients[1]], rtol=1e-6, atol=1e-6
    )


@every_loss()
def test_every_sample_of_a_batch_of_indices(method, form):
    criterion = method.make(reduction='none', loss_weight=0.7, **form)
    columns, sigmoid = criterion.num_columns, criterion.use_sigmoid
    scores = (2 * torch.randn(N, columns, dtype=torch.float64)).requires_grad_()
    label = torch.randint(columns + sigmoid, (N,))  # under sigmoid C is the background
    label[3::7] = 255
    rows = [[float(k == y) for k in range(columns)] for y in label.tolist()]
    weight = torch.rand(N, dtype=torch.float64) * (torch.arange(N) % 5 > 0)

    loss = criterion(scores, label, weight, ignore_index=255)

    expected = method.loop(scores, rows, sigmoid)
    for i, y in enumerate(label.tolist()):
        scale = 0.7 * weight.float()[i].double() * (y != 255)
        expected[i] = [scale * x for x in expected[i]] if sigmoid else scale * expected[i]
    assert_equals_loop(loss, expected, scores)


@pytest.mark.parametrize(('method', 'form'), cases(lambda method: method.rows))
def test_every_sample_of_a_batch_of_rows(method, form):
    criterion = method.make(reduction='none', **form)
    scores = (2 * torch.randn(N, criterion.num_columns, dtype=torch.float64)).requires_grad_()
    rows = random_rows(criterion.num_columns)
    expected = method.loop(scores, rows.tolist(), criterion.use_sigmoid)
    assert_equals_loop(criterion(scores, rows), expected, scores)


@every_loss(['softmax', 'sigmoid'])
def test_reductions(method, form):
    """As the hosts have them, of what single samples cost."""

    def loss(**options):
        call = {key: options.pop(key) for key in ('avg_factor',) if key in options}
        return method.make(**form, **options)(scores, label, weight, **call)

    scores, label, weight = torch.randn(N, C), torch.randint(C, (N,)), torch.rand(N)
    label[::5] = -100
    single = loss(reduction='none')
    entries = single.numel()
    assert_close(loss(), single.sum() / entries)
    assert_close(loss(reduction='sum'), single.sum())
    assert_close(loss(avg_factor=7), single.sum() / 7)
    kept = entries * (N - len(label[::5])) / N
    assert_close(loss(avg_non_ignore=True), single.sum() / kept)


@every_loss(['softmax', 'sigmoid'])
def test_leading_shape_does_not_matter(method, form):
    criterion = method.make(reduction='none', **form)
    scores, label = torch.randn(2, 3, 4, C), torch.randint(C, (2, 3, 4))
    flat = criterion(scores.reshape(-1, C), label.flatten())
    assert_close(criterion(scores, label), flat.reshape(2, 3, 4, *flat.shape[1:]))


@every_loss(['softmax', 'sigmoid'])
@pytest.mark.parametrize('rows', [False, True])
@pytest.mark.parametrize('reduction', ['mean', 'sum', 'none'])
def test_empty_batch_costs_nothing_and_has_a_graph(reduction, rows, method, form):
    criterion = method.make(reduction=reduction, **form)
    scores = torch.zeros(0, C, requires_grad=True)
    label = torch.zeros(0, C) if rows else torch.zeros(0, dtype=int)
    if not takes(criterion, rows):
        pytest.skip('takes no rows')
    loss = criterion(scores, label)
    assert_close(loss.sum(), torch.tensor(0.0))
    assert torch.autograd.grad(loss.sum(), scores)[0].shape == (0, C)


@every_loss(['softmax', 'sigmoid'])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_scores_are_computed_in_float32(dtype, method, form):
    half = (30 * torch.randn(N, C)).to(dtype).requires_grad_()
    full = half.detach().float().requires_grad_()
    label, results = torch.randint(C, (N,)), []
    for scores in (half, full):
        torch.manual_seed(3)
        loss = method.make(**form)(scores, label)
        results.append((loss, torch.autograd.grad(loss, scores)[0]))
    assert results[0][0].isfinite()
    assert_close(results[0], (results[1][0], results[1][1].to(dtype)))


# --- the neutral setting -------------------------------------------------------------------------

NEUTRAL = {
    'LS': partial(LSLoss, C, 0.0),
    'OLS': partial(with_soft_labels, alpha=1.0),
    'OLS-Single': partial(with_banks, alpha=1.0),
    'soft bootstrapping': partial(BootstrapLoss, C, 'soft', 1.0),
    'hard bootstrapping': partial(BootstrapLoss, C, 'hard', 1.0),
    'DisturbLabel': partial(DisturbLabelLoss, C, 0.0),
    'SCE': partial(SCELoss, C, 1.0, 0.0),
    'PC': partial(PairwiseConfusionLoss, C, 'ols', 0.0),
    'PC, released': partial(PairwiseConfusionLoss, C, 'released', 0.0),
    'Tf-KD': partial(TfKDRegLoss, C, 0.0),
    'Tf-KD, fair': partial(TfKDRegLoss, C, 0.0, form='fair'),
}


@pytest.mark.parametrize('rows', [False, True])
@pytest.mark.parametrize('make', NEUTRAL.values(), ids=NEUTRAL)
def test_neutral_setting_is_pytorchs_cross_entropy(make, rows):
    class_weight = torch.rand(C)
    scores, label = torch.randn(N, C, requires_grad=True), torch.randint(C, (N,))
    if rows:
        label = 0.7 * F.one_hot(label, C) + 0.3 * F.one_hot(label.flip(0), C)
    loss = make(class_weight=class_weight.tolist(), reduction='none')(scores, label)
    expected = F.cross_entropy(scores, label, class_weight, reduction='none')
    assert_equals_loop(loss, expected.unbind(), scores)


@pytest.mark.parametrize(
    'make', [make for name, make in NEUTRAL.items() if 'PC' not in name and 'KD' not in name]
)
def test_neutral_setting_is_pytorchs_binary_cross_entropy(make):
    scores, label = torch.randn(N, C, requires_grad=True), torch.randint(C + 1, (N,))
    loss = make(use_sigmoid=True, reduction='none')(scores, label)
    expected = F.binary_cross_entropy_with_logits(
        scores, F.one_hot(label, C + 1)[:, :C].float(), reduction='none'
    )
    assert_equals_loop(loss, expected.unbind(), scores)


# --- what is particular to one method ------------------------------------------------------------


def test_soft_bootstrapping_is_entropy_minimisation():
    scores, label = torch.randn(N, C, requires_grad=True), torch.randint(C, (N,))
    loss = BootstrapLoss(C, beta=0.7, reduction='none')(scores, label)
    entropy = torch.distributions.Categorical(logits=scores).entropy()
    expected = 0.7 * F.cross_entropy(scores, label, reduction='none') + 0.3 * entropy
    assert_equals_loop(loss, expected.unbind(), scores)


def test_sce_of_a_hard_label_in_closed_form():
    scores, label = torch.randn(N, C), torch.randint(C, (N,))
    p = scores.softmax(-1)[torch.arange(N), label]
    expected = 6 * -p.log() + 0.1 * 4 * math.log(10) * (1 - p)
    assert_close(SCELoss(C, reduction='none')(scores, label), expected)
    # The slip of the OLS authors' code, as methods that take their figures need it.
    others = scores.log_softmax(-1).sum(-1) - p.log()
    clamped = SCELoss(C, label='clamped', reduction='none')(scores, label)
    assert_close(clamped, expected - 6e-4 * others)


def test_teacher_of_tf_kd_is_almost_uniform():
    right, wrong = TfKDRegLoss(200).teacher
    assert_close(right + 199 * wrong, 1.0)
    assert_close(right / wrong, math.exp((0.99 - 0.01 / 199) / 40))
    # What a student who agrees with the teacher costs: nothing, but for the label's part.
    student = torch.full((1, 200), wrong).index_fill(1, torch.tensor([7]), right).log()
    loss = TfKDRegLoss(200, 1.0, form='fair')(student, torch.tensor([7]))
    assert_close(loss, torch.tensor(0.0), rtol=0, atol=1e-6)


def test_a_small_temperature_does_not_overflow():
    assert TfKDRegLoss(C, temperature=1e-3).teacher == (1.0, 0.0)


def drawn_classes(criterion, label, columns=C):
    """The classes that were trained on: scores whose losses tell the class."""
    scores = torch.arange(float(columns)).log1p().expand(label.shape[0], columns)
    loss = criterion(scores, label)
    return (loss[:, None] - -scores.log_softmax(-1)).abs().argmin(1), loss


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
    assert not torch.equal(again, drawn)  # each time anew


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


# --- bad settings --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (partial(BootstrapLoss, C, 'medium'), r"`mode` must be one of .*'soft'.* got 'medium'"),
        (partial(BootstrapLoss, C, beta=1.1), r'`beta`.*must be in \[0, 1\], but got 1.1'),
        (partial(BootstrapLoss, C, beta=-1), r'`beta`.*must be in \[0, 1\], but got -1'),
        (
            partial(DisturbLabelLoss, C, 10),
            r'`rate`.*must be in \[0, 1\], but got 10: 10 % are 0.1',
        ),
        (partial(DisturbLabelLoss, C, -0.1), r'`rate`.*must be in \[0, 1\], but got -0.1'),
        (partial(SCELoss, C, -1.0), '`alpha` must not be negative, but got -1.0'),
        (partial(SCELoss, C, beta=math.nan), '`beta` must not be negative, but got nan'),
        (
            partial(SCELoss, C, label='soft'),
            r"`label` must be one of \('exact', 'clamped'\).* 'soft'",
        ),
        (
            partial(SCELoss, C, label='clamped', use_sigmoid=True),
            "`label` must be 'exact' with use_sigmoid=True, but got 'clamped'",
        ),
        (partial(PairwiseConfusionLoss, C, 'l2'), r"`form` must be one of .*'ols'.* got 'l2'"),
        (partial(PairwiseConfusionLoss, C, 'ols', -1), '`confusion_weight` must not be .* got -1'),
        (
            partial(PairwiseConfusionLoss, C, inputs='features'),
            "`inputs` must be 'logits' or 'softmax', but got 'features'",
        ),
        (
            partial(PairwiseConfusionLoss, C, use_sigmoid=True),
            'PairwiseConfusionLoss compares whole images .* use_sigmoid=True, background=False',
        ),
        (
            partial(PairwiseConfusionLoss, C, background=True),
            'PairwiseConfusionLoss compares whole images .* background=True: leave these out',
        ),
        (
            partial(TfKDRegLoss, C, use_sigmoid=True),
            'TfKDRegLoss is a divergence between distributions .* use_sigmoid=True: take LSLoss',
        ),
        (partial(TfKDRegLoss, C, 2.0), r'`alpha` must be in \[0, 1\], but got 2.0'),
        (partial(TfKDRegLoss, C, temperature=0), '`temperature` must be above 0, but got 0'),
        (partial(TfKDRegLoss, C, multiplier=-1), '`multiplier` must not be negative, but got -1'),
        (partial(TfKDRegLoss, C, correct_prob=99), r'`correct_prob` must be in \[0, 1\].* got 99'),
        (partial(TfKDRegLoss, C, form='mean'), r"`form` must be one of .*'fair'.* got 'mean'"),
        (partial(OLSSingleLoss, C, bank_size=0), '`bank_size` must be a positive integer.* got 0'),
        (partial(OLSSingleLoss, C, bank_size=2.0), '`bank_size` must be a positive .* got 2.0'),
        (
            partial(OLSSingleLoss, C, freeze_confidence=0.88),
            '`freeze_confidence` is a rule for the mean of a class.* got 0.88: leave it out',
        ),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@every_loss(['softmax'])
def test_an_unknown_setting_and_several_classes_are_refused(method, form):
    with pytest.raises(TypeError, match="unexpected keyword argument 'alhpa'"):
        method.make(alhpa=0.5)
    with pytest.raises(ValueError, match='not defined for samples of several classes'):
        method.make()(torch.zeros(1, C), torch.tensor([[1.0, 1, 0, 0, 0]]))


def test_rows_have_no_pairs_of_different_classes():
    criterion = PairwiseConfusionLoss(C, 'paper')
    with pytest.raises(ValueError, match="form='paper'.*looks for pairs.*rows.*form='ols'"):
        criterion(torch.zeros(4, C), torch.eye(C)[:4])


@every_loss(['softmax'])
def test_its_settings_are_shown(method, form):
    criterion = method.make()
    shown = repr(criterion)
    options = [
        name
        for name in ('alpha', 'beta', 'rate', 'epsilon', 'mode', 'form', 'temperature', 'bank_size')
        if hasattr(criterion, name)
    ]
    assert options
    for name in options:
        assert f'{name}={getattr(criterion, name)!r}' in shown


# --- the hot path --------------------------------------------------------------------------------


def training(criterion):
    return criterion if criterion.training else criterion.train()


def batch(rows, **where):
    label = torch.randint(C, (16,), **where)
    if rows:
        label = 0.9 * F.one_hot(label, C) + 0.1 * F.one_hot(label.flip(0), C)
    return torch.randn(16, C, **where), label, torch.rand(16, **where)


def one_of_each_class():
    """Variants of a method have little of their own to compile."""
    methods = [item for item in METHODS.items() if takes(item[1].make(), rows=True)]
    return {type(method.make()): (name, method) for name, method in methods}.values()


COMPILED = [(name, method.make, False) for name, method in METHODS.items()]
COMPILED += [(f'{name}, rows', method.make, True) for name, method in one_of_each_class()]
COMPILED = [
    pytest.param(make, rows, id=name)
    for name, make, rows in COMPILED
    if type(make()) is not OLSLoss  # its own tests compile it, the sigmoid form as well
]


def compare_compiled(make, rows, backend):
    """Value, gradient and state over two periods."""
    torch._dynamo.reset()
    eager, owner = training(make()), training(make())
    compiled = torch.compile(owner, fullgraph=True, backend=backend)
    for _ in range(2):
        scores, label, weight = batch(rows)
        results = []
        for criterion in (compiled, eager):
            torch.manual_seed(1)
            leaf = scores.clone().requires_grad_()
            loss = criterion(leaf, label, weight)
            loss.backward()
            results.append((loss, leaf.grad))
        assert_close(*results)
        assert_close(owner.state_dict(), eager.state_dict())
        if isinstance(eager, OLSLoss):
            assert eager.correct_count.sum() > 0
            owner.update_soft_labels()
            eager.update_soft_labels()
    assert_close(owner.state_dict(), eager.state_dict())


@pytest.mark.parametrize(('make', 'rows'), COMPILED)
def test_compiled_loss_equals_eager(make, rows):
    # What a loss keeps is changed in the graph, which 'aot_eager' makes one without side effects.
    backend = 'aot_eager' if make().state_dict() else 'eager'
    compare_compiled(make, rows, backend)


def no_label_check():
    """On the CPU, where a look at the labels costs nothing, they are looked at."""
    return mock.patch.object(ClassificationLoss, '_check_labels')


@every_loss(['softmax', 'sigmoid'])
@pytest.mark.parametrize('rows', [False, True])
def test_no_step_waits_for_a_device(rows, method, form):
    """Fake tensors hold no values: whatever would fetch one, as for a condition, raises."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        criterion = training(method.make(**form))
        if not takes(criterion, rows):
            pytest.skip('takes no rows')
        scores, label, weight = batch(rows)
        with no_label_check():
            criterion(scores.requires_grad_(), label, weight).backward()
        assert scores.grad.shape == scores.shape
        # Forwards as on a GPU, with its look at the labels; backwards would need one.
        criterion.to('cuda')
        criterion(*batch(rows, device='cuda'))


def test_fake_tensors_would_notice():
    with FakeTensorMode(), pytest.raises(DataDependentOutputException):
        LSLoss(C)(*batch(False))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@every_loss(['softmax', 'sigmoid'])
@pytest.mark.parametrize('rows', [False, True])
def test_no_step_synchronises_a_gpu(rows, method, form):
    criterion = training(method.make(**form).cuda())
    if not takes(criterion, rows):
        pytest.skip('takes no rows')
    scores, label, weight = batch(rows, device='cuda')
    scores.requires_grad_()
    torch.cuda.set_sync_debug_mode('error')
    try:
        criterion(scores, label, weight).backward()
    finally:
        torch.cuda.set_sync_debug_mode('default')
    assert scores.grad.isfinite().all()
