"""OLSLoss against the paper's procedure, written separately as loops in `reference.py`."""

from __future__ import annotations

import copy
import functools
from functools import partial
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from reference import Reference
from test_losses.harness import C as CLASSES
from test_losses.harness import LossContract, Method, fixed_soft_labels, soft_label_loop
from test_losses.steps import FORMS, C, reference_of, tensors, with_random_soft_labels
from torch import nn
from torch.testing import assert_close
from torch_releases import WHOLE_GRAPHS

from mmdet_ols import OLSLoss, OLSSparseLoss, no_teaching
from mmdet_ols.core import fused_cross_entropy
from mmdet_ols.losses.classification_loss import ClassificationLoss


def with_soft_labels(**options):
    criterion = OLSLoss(CLASSES, **options)
    criterion.soft_labels.copy_(fixed_soft_labels(criterion))
    return criterion


class TestOLSLoss(LossContract):
    methods = {
        'OLS': Method(partial(with_soft_labels, alpha=0.3), soft_label_loop),
    }
    neutral = {
        'alpha 1': partial(with_soft_labels, alpha=1.0),
    }
    compiled_elsewhere = True  # below, the sigmoid form as well


# --- the paper -----------------------------------------------------------------------------------


def training_data():
    """20 samples of 5 classes; those of class 4 look just like the more frequent class 0."""
    label = torch.tensor([0, 1, 2, 3] * 4 + [0, 1, 4, 4])
    look = torch.where(label == 4, 0, label)
    features = 3 * F.one_hot(look, 4) + 0.6 * torch.randn(20, 4, dtype=torch.float64)
    features[label == 4] = features[label == 0][:2]
    return features, label


@FORMS
@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(alpha=0.2),
        dict(start='zeros'),
        dict(start='label_smoothing'),
        dict(start='label_smoothing', empty_class='uniform'),
        # The authors' two scripts.
        dict(start='zeros', empty_class='uniform'),
        dict(start='zeros', empty_class='uniform', freeze_confidence=0.88),
        dict(freeze_confidence=0.88, empty_class='uniform', alpha=0.9),
        dict(start='hard'),  # a class has its hard label until it was recognised
    ],
    ids=lambda options: ','.join(map(str, options.values())) or 'paper',
)
def test_training_equals_algorithm_1(options, use_sigmoid):
    train_beside_the_loop(dict(options, use_sigmoid=use_sigmoid))


@pytest.mark.parametrize(
    'options',
    [
        dict(sigmoid_reading='softmax'),
        dict(sigmoid_reading='mean'),
        dict(sigmoid_reading='mean', empty_class='uniform'),
        dict(gamma=2.0, balance=0.25),
        dict(gamma=1.5, sigmoid_reading='softmax', alpha=0.3),
        dict(balance=0.75),
        dict(quality_beta=2.0),
        dict(quality_beta=1.5, sigmoid_reading='softmax', alpha=0.3),
    ],
    ids=lambda options: ','.join(map(str, options.values())),
)
def test_training_of_the_sigmoid_forms_equals_the_loop(options):
    # A focal gradient is smaller still.
    lr = 4.0 if options.get('gamma') else 1.0
    train_beside_the_loop(dict(options, use_sigmoid=True), lr)


@pytest.mark.parametrize('implementation', ['fused', 'compiled'])
@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(alpha=0.2),
        dict(start='zeros', empty_class='uniform', freeze_confidence=0.88),
        dict(start='label_smoothing'),
        dict(start='hard'),
    ],
    ids=lambda options: ','.join(map(str, options.values())) or 'paper',
)
def test_training_in_another_implementation_equals_algorithm_1(
    options, implementation, monkeypatch
):
    taken = mock.Mock(side_effect=fused_cross_entropy)
    monkeypatch.setattr('mmdet_ols.losses.ols_loss.fused_cross_entropy', taken)
    torch._dynamo.reset()
    # PyTorch's own compiler would take minutes.
    compile = functools.cache(functools.partial(torch.compile, backend='aot_eager'))
    computed = mock.Mock(side_effect=lambda: compile(ClassificationLoss._compute))
    monkeypatch.setattr('mmdet_ols.losses.classification_loss._compiled_compute', computed)
    train_beside_the_loop(dict(options, use_sigmoid=False), implementation=implementation)
    steps = 4 * 4
    assert taken.call_count == steps * (implementation == 'fused')
    assert computed.call_count == steps * (implementation == 'compiled')


def train_beside_the_loop(options, lr=None, implementation='plain'):
    """Losses, matrices and weights of each step equal those of the naive loop.

    Everything but the float32 state is float64, so 1e-6 is the rounding of a soft label. The fused
    form is for float32: there the roundings of 16 steps add up, at rates that make them grow.
    """
    use_sigmoid = options['use_sigmoid']
    features, label = training_data()
    model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, C)).double()
    naive_model = copy.deepcopy(model)
    criterion, naive = OLSLoss(C, **options, implementation=implementation), Reference(C, **options)
    dtype = torch.float32 if implementation == 'fused' else torch.float64
    close = dict(rtol=2e-5, atol=2e-5) if implementation == 'fused' else dict(rtol=1e-6, atol=1e-6)
    model.to(dtype)
    # The sigmoid form's gradient is smaller: its loss is a mean over the classes, too.
    lr = lr or (1.0 if use_sigmoid else 0.8)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    naive_optimizer = torch.optim.SGD(naive_model.parameters(), lr=lr, momentum=0.9)

    classes_without_correct, was_frozen = set(), False
    for _ in range(4):  # three roll-overs, each of them followed by an epoch that uses it
        for batch in torch.randperm(len(label)).split(5):
            optimizer.zero_grad()
            loss = criterion(model(features[batch].to(dtype)), label[batch])
            loss.backward()
            optimizer.step()

            naive_optimizer.zero_grad()
            naive_loss = 0
            for i in batch.tolist():
                scores = naive_model(features[i])
                naive_loss = naive_loss + sum(naive.loss(scores, int(label[i])))
                naive.learn(scores, int(label[i]))
            terms = C if use_sigmoid and 'quality_beta' not in options else 1
            naive_loss = naive_loss / len(batch) / terms
            naive_loss.backward()
            naive_optimizer.step()

            assert_close(loss.double(), naive_loss, **close)
            weights = {name: value.double() for name, value in model.state_dict().items()}
            assert_close(weights, dict(naive_model.state_dict()), **close)
            assert_close(tensors(criterion), naive.tensors(), **close)
        classes_without_correct.update(y for y in range(C) if naive.correct_count[y] == 0)
        was_frozen |= max(map(max, naive.soft_labels)) >= 0.88
        criterion.update_soft_labels()
        naive.roll_over()
        assert_close(tensors(criterion), naive.tensors(), **close)

    # The data does exercise the two rules that the options are about.
    assert 4 in classes_without_correct
    assert not classes_without_correct >= {0, 1, 2, 3}
    if 'freeze_confidence' in options and not use_sigmoid:
        assert was_frozen


@FORMS
@pytest.mark.parametrize('background', [False, True])
@pytest.mark.parametrize('alpha', [0.0, 0.3, 1.0])
def test_every_sample_of_a_mixed_batch_of_indices(alpha, background, use_sigmoid):
    criterion = with_random_soft_labels(
        OLSLoss(C, alpha, use_sigmoid=use_sigmoid, background=background)
    )
    naive = reference_of(criterion)
    columns = C + background
    scores = torch.randn(60, columns, dtype=torch.float64, requires_grad=True)
    # All classes, background (where there is such a label), and ignored samples.
    highest = C if background or use_sigmoid else C - 1
    label = torch.randint(highest + 1, (60,))
    label[::7] = -100
    weight = torch.rand(60) * (torch.rand(60) < 0.7)

    loss = criterion(scores, label, weight, reduction_override='none')

    expected = []
    for i in range(60):
        terms = [term * weight[i] for term in naive.loss(scores[i], int(label[i]))]
        expected.append(torch.stack(terms) if use_sigmoid else sum(terms))
        naive.learn(scores[i], int(label[i]), float(weight[i]))
    expected = torch.stack(expected)
    assert_close(loss, expected)
    assert_close(
        torch.autograd.grad(loss.sum(), scores)[0], torch.autograd.grad(expected.sum(), scores)[0]
    )
    assert 0 < sum(naive.correct_count) < sum(naive.sample_count) < 50
    assert_close(tensors(criterion), naive.tensors())


@FORMS
@pytest.mark.parametrize('threshold', [0.6, 0.8])
def test_every_sample_of_a_mixed_batch_of_rows(threshold, use_sigmoid):
    """One-hot, mixed, scaled and zero rows together."""
    criterion = with_random_soft_labels(
        OLSLoss(C, 0.3, use_sigmoid=use_sigmoid, soft_row_threshold=threshold, reduction='none')
    )
    naive = reference_of(criterion, soft_row_threshold=threshold)
    scores = torch.randn(80, C, dtype=torch.float64, requires_grad=True)
    share = 0.5 + 0.5 * torch.rand(80, 1)
    rows = share * F.one_hot(torch.randint(C, (80,)), C)
    rows = rows + (1 - share) * F.one_hot(torch.randint(C, (80,)), C)
    rows[::4] = F.one_hot(torch.randint(C, (20,)), C).float()
    rows[1::4] *= torch.rand(20, 1)
    rows[2::8] = 0

    loss = criterion(scores, rows)

    expected = []
    for i in range(80):
        terms = naive.loss(scores[i], rows[i].tolist())
        expected.append(torch.stack(terms) if use_sigmoid else sum(terms))
        naive.learn(scores[i], rows[i].tolist())
    expected = torch.stack(expected)
    assert_close(loss, expected)
    assert_close(
        torch.autograd.grad(loss.sum(), scores)[0], torch.autograd.grad(expected.sum(), scores)[0]
    )
    assert 0 < sum(naive.correct_count) < sum(naive.sample_count) < 70
    assert_close(tensors(criterion), naive.tensors())


def test_every_sample_of_a_mixed_batch_of_labels_with_qualities():
    """As GFL's and RTMDet's heads send them: positives, background and boxes without overlap."""
    criterion = with_random_soft_labels(
        OLSLoss(C, 0.3, use_sigmoid=True, quality_beta=2.0, reduction='none')
    )
    naive = reference_of(criterion, quality_beta=2.0)
    scores = torch.randn(80, C, dtype=torch.float64, requires_grad=True)
    label, quality = torch.randint(-1, C + 1, (80,)), torch.rand(80)
    quality[::6] = 0
    weight = torch.rand(80) * (torch.rand(80) < 0.7)

    loss = criterion(scores, (label, quality), weight)

    expected = []
    for i in range(80):
        row = [float(quality[i]) if k == label[i] else 0.0 for k in range(C)]
        expected.append(weight[i] * sum(naive.loss(scores[i], row)))
        naive.learn(scores[i], row, float(weight[i]))
    expected = torch.stack(expected)
    assert_close(loss, expected)
    assert_close(
        torch.autograd.grad(loss.sum(), scores)[0], torch.autograd.grad(expected.sum(), scores)[0]
    )
    assert 0 < sum(naive.correct_count) < sum(naive.sample_count) < 50
    assert_close(tensors(criterion), naive.tensors())


def test_first_epoch_is_label_smoothing():
    """The uniform start: alpha on the label, the rest spread evenly (paper, Sec. III-B)."""
    scores, label = torch.randn(6, C), torch.randint(C, (6,))
    assert_close(
        OLSLoss(C, alpha=0.7)(scores, label), F.cross_entropy(scores, label, label_smoothing=0.3)
    )


@pytest.mark.parametrize('make', [OLSLoss, partial(OLSSparseLoss, top_m=2)])
def test_a_class_is_hard_until_it_was_recognised(make):
    criterion, label = make(C, start='hard', reduction='none'), torch.arange(C)
    scores = 9 * F.one_hot((label + 1) % C, C).float()
    scores[0] = scores[0].roll(-1)  # one is right
    hard = F.cross_entropy(scores, label, reduction='none')
    assert_close(criterion(scores, label), hard)
    for _ in range(2):  # the second period has no sample at all
        criterion.update_soft_labels()
        with no_teaching():
            loss = criterion(scores, label)
        assert_close(loss[1:], hard[1:])
        assert loss[0] > 1.01 * hard[0]


def test_loss_weight_scales_the_loss_alone():
    """2.0 at alpha=0.5 is the authors' fine-grained script: both parts count fully."""
    scores, label = torch.randn(20, C), torch.randint(C, (20,))
    one, two = OLSLoss(C), OLSLoss(C, loss_weight=2.0)
    hard = F.cross_entropy(scores, label)
    soft = -scores.log_softmax(-1).mean()  # against 1 / C
    assert_close(two(scores, label), hard + soft)
    assert_close(one(scores, label), (hard + soft) / 2)
    assert_close(tensors(two), tensors(one))


@FORMS
@pytest.mark.parametrize('rows', [False, True])
def test_compiled_loss_equals_eager(rows, use_sigmoid):
    """One graph with the state update in it: value, gradient and state over two periods."""
    torch._dynamo.reset()
    eager = OLSLoss(C, use_sigmoid=use_sigmoid, class_weight=[1, 2, 3, 1, 1])
    compiled_owner = copy.deepcopy(eager)
    compiled = torch.compile(compiled_owner, fullgraph=WHOLE_GRAPHS, backend='aot_eager')
    for _ in range(2):
        scores, label = torch.randn(16, C), torch.randint(C, (16,))
        label = F.one_hot(label, C).float() if rows else label
        got, expected = scores.clone().requires_grad_(), scores.clone().requires_grad_()
        weight = torch.rand(16)
        loss, expected_loss = compiled(got, label, weight), eager(expected, label, weight)
        assert_close(loss, expected_loss)
        loss.backward()
        expected_loss.backward()
        assert_close(got.grad, expected.grad)
        assert eager.correct_count.sum() > 0
        assert_close(tensors(compiled_owner), tensors(eager))
        compiled_owner.update_soft_labels()
        eager.update_soft_labels()
    assert_close(tensors(compiled_owner), tensors(eager))
