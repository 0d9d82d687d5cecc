"""OLSLoss against the paper's procedure, written separately as loops in `reference.py`."""

from __future__ import annotations

import copy
import functools
import math
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from reference import Reference
from torch import nn
from torch.testing import assert_close

from mmdet_ols import OLSLoss
from mmdet_ols.core import SUMS, fused_cross_entropy
from mmdet_ols.losses.classification_loss import ClassificationLoss

C = 5
STATE = ('soft_labels', *SUMS)
FORMS = pytest.mark.parametrize('use_sigmoid', [False, True])


def tensors(criterion):
    return {name: getattr(criterion, name).clone() for name in STATE}


def with_random_soft_labels(criterion):
    """As after an epoch. Not symmetric, so that swapped rows and columns show."""
    rows = criterion.soft_labels[: criterion.num_classes]
    rows.copy_(torch.rand_like(rows).softmax(-1))
    return criterion


def reference_of(criterion, **kwargs):
    reference = Reference(
        criterion.num_classes,
        alpha=criterion.alpha,
        use_sigmoid=criterion.use_sigmoid,
        background=criterion.background,
        **kwargs,
    )
    reference.soft_labels = criterion.soft_labels.tolist()
    return reference


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
            naive_loss = naive_loss / len(batch) / (C if use_sigmoid else 1)
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
@pytest.mark.filterwarnings('ignore:OLSLoss.use_sigmoid=True, background=True')
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


def test_first_epoch_is_label_smoothing():
    """The uniform start: alpha on the label, the rest spread evenly (paper, Sec. III-B)."""
    scores, label = torch.randn(6, C), torch.randint(C, (6,))
    assert_close(
        OLSLoss(C, alpha=0.7)(scores, label), F.cross_entropy(scores, label, label_smoothing=0.3)
    )


def test_loss_weight_scales_the_loss_alone():
    """2.0 at alpha=0.5 is the authors' fine-grained script: both parts count fully."""
    scores, label = torch.randn(20, C), torch.randint(C, (20,))
    one, two = OLSLoss(C), OLSLoss(C, loss_weight=2.0)
    hard = F.cross_entropy(scores, label)
    soft = -scores.log_softmax(-1).mean()  # against 1 / C
    assert_close(two(scores, label), hard + soft)
    assert_close(one(scores, label), (hard + soft) / 2)
    assert_close(tensors(two), tensors(one))


# --- who teaches ---------------------------------------------------------------------------------


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


def test_configured_ignore_index_does_not_teach():
    criterion = OLSLoss(C, ignore_index=1)
    criterion(*correct(3))
    assert_close(criterion.sample_count, torch.tensor([1.0, 0, 1, 0, 0]))


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


# --- precision -----------------------------------------------------------------------------------


@FORMS
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('rows', [False, True])
def test_half_precision_scores(rows, dtype, use_sigmoid):
    criterion = with_random_soft_labels(OLSLoss(C, use_sigmoid=use_sigmoid))
    same_scores = copy.deepcopy(criterion)
    scores, label = 3 * torch.randn(64, C), torch.randint(C, (64,))
    label = F.one_hot(label, C).float() if rows else label
    half = scores.to(dtype).requires_grad_()
    loss = criterion(half, label)

    # Computed in float32: exactly the loss of the same scores as float32, and the same state.
    upcast = half.detach().float().requires_grad_()
    expected = same_scores(upcast, label)
    assert_close(loss, expected)
    assert_close(tensors(criterion), tensors(same_scores))
    (grad,) = torch.autograd.grad(loss, half)
    assert_close(grad, torch.autograd.grad(expected, upcast)[0].to(dtype))  # checks the dtype, too

    # Rounding moves a score by at most |z| eps / 2. The softmax loss's gradient, p - T, has an L1
    # norm of at most 2; each sigmoid term's is at most 1, and their mean is taken.
    rounding = scores.abs().max().item() * torch.finfo(dtype).eps / 2
    full = criterion.eval()(scores, label)
    assert_close(loss, full, rtol=0, atol=rounding * (1 if use_sigmoid else 2))


@FORMS
@pytest.mark.parametrize('rows', [False, True])
def test_autocast_changes_nothing_after_the_scores(rows, use_sigmoid):
    """Neither the loss nor the state is computed in bfloat16, whose soft labels would be coarse."""
    plain = with_random_soft_labels(OLSLoss(C, use_sigmoid=use_sigmoid))
    autocast = copy.deepcopy(plain)
    model, x = nn.Linear(8, C), torch.randn(32, 8)
    label = torch.randint(C, (32,))
    if rows:
        label = 0.9 * F.one_hot(label, C) + 0.1 * F.one_hot(label.flip(0), C)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        scores = model(x)
        loss = autocast(scores, label)
    assert scores.dtype == torch.bfloat16
    assert_close(loss, plain(scores.float(), label))
    assert_close(tensors(autocast), tensors(plain))


def test_gradient_accumulation_gives_the_state_of_the_whole_batch():
    scores, label = torch.randn(32, C), torch.randint(C, (32,))
    whole, halves = OLSLoss(C), OLSLoss(C)
    loss = whole(scores, label)
    mean_of_halves = sum(halves(scores[part], label[part]) for part in (slice(16), slice(16, 32)))
    assert_close(mean_of_halves / 2, loss)
    whole.update_soft_labels()
    halves.update_soft_labels()
    assert_close(tensors(halves), tensors(whole))


@FORMS
@pytest.mark.parametrize('rows', [False, True])
def test_compiled_loss_equals_eager(rows, use_sigmoid):
    """One graph with the state update in it: value, gradient and state over two periods."""
    torch._dynamo.reset()
    eager = OLSLoss(C, use_sigmoid=use_sigmoid, class_weight=[1, 2, 3, 1, 1])
    compiled_owner = copy.deepcopy(eager)
    compiled = torch.compile(compiled_owner, fullgraph=True, backend='aot_eager')
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
    """PISA's heads try the loss out before they take it."""
    once, twice = (OLSLoss(C, use_sigmoid=use_sigmoid) for _ in range(2))
    scores, label = torch.randn(8, C), torch.randint(C, (8,))
    with torch.no_grad():
        tried = twice(scores, label)
    assert_close(once(scores, label), tried)
    twice(scores, label)
    assert once.sample_count.sum() == 8
    assert_close(tensors(once), tensors(twice))


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(alpha=-0.1), r'`alpha`, the share of the hard loss, must be in \[0, 1\].* got -0.1'),
        (dict(alpha=1.5), r'`alpha`.*\[0, 1\].* got 1.5'),
        (dict(alpha=math.nan), r'`alpha`.*\[0, 1\].* got nan'),
        (dict(soft_row_threshold=0), r'`soft_row_threshold` must be in \(0, 1\], but got 0'),
        (dict(soft_row_threshold=80), r'`soft_row_threshold` must be in \(0, 1\], but got 80'),
        (dict(reduction='avg'), r"`reduction` must be one of \('none', 'mean', 'sum'\).* 'avg'"),
        (
            dict(class_weight=1.0),
            r'`class_weight` must hold .* each column, but got 1.0: use loss_w',
        ),
        (dict(class_weight=[1.0] * 4), r'`class_weight` needs .* each of the 5 score columns.* 4'),
        (
            dict(class_weight=[1.0] * C, background=True),
            r'`class_weight` .* 6 score columns \(num_classes=5, background=True\), but got 5',
        ),
        (dict(num_classes=0), r'`num_classes` must be a positive integer, but got 0'),
        (dict(gamma=-1, use_sigmoid=True), r'`gamma` must not be negative, but got -1'),
        (dict(balance=25, use_sigmoid=True), r'`balance` must be None or in \[0, 1\], but got 25'),
        (dict(gamma=2.0), r'`gamma` and `balance` .* set use_sigmoid=True, or leave gamma=2.0'),
        (dict(balance=0.25), r'`gamma` and `balance` .* balance=0.25 out'),
        (dict(sigmoid_reading='mean'), r"`sigmoid_reading` .* 'mean' without use_sigmoid=True"),
        (
            dict(sigmoid_reading='raw', use_sigmoid=True),
            r"`sigmoid_reading` must be one of \('normalized', 'softmax', 'mean'\), but got 'raw'",
        ),
    ],
)
def test_bad_settings_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        OLSLoss(**{'num_classes': C, **kwargs})


def test_labels_with_qualities_are_refused():
    """As GFL's and RTMDet's heads send them."""
    with pytest.raises(TypeError, match=r'must be a tensor, but got a tuple: .*QualityFocalLoss'):
        OLSLoss(C, use_sigmoid=True)(torch.zeros(2, C), (torch.tensor([0, 1]), torch.ones(2)))


def test_an_unknown_setting_is_named():
    with pytest.raises(TypeError, match="unexpected keyword argument 'alhpa'"):
        OLSLoss(C, alhpa=0.5)


def index(*values):
    return torch.tensor(values)


@pytest.mark.parametrize(
    ('settings', 'scores', 'args', 'kwargs', 'message'),
    [
        ({}, (2, 4), [index(0, 1)], {}, r'made for 5 score columns.* has 4: set num_classes=4'),
        (
            {},
            (2, 6),
            [index(0, 1)],
            {},
            'has 6: set background=True if the last column is .* or else set num_classes=6',
        ),
        (dict(background=True), (2, 5), [index(0, 1)], {}, 'has 5: set num_classes=4'),
        (dict(use_sigmoid=True), (2, 6), [index(0, 1)], {}, 'has 6: set num_classes=6'),
        (
            {},
            (2, C),
            [index(0, 5)],
            {},
            r'label must be in \[0, 4\].* set num_classes.*Got the label 5',
        ),
        ({}, (2, C), [index(0, -1)], {}, r'label must be in \[0, 4\].* Got the label -1'),
        (
            dict(background=True),
            (2, 6),
            [index(0, 6)],
            {},
            r'in \[0, 5\].*=True\).* Got the label 6',
        ),
        (
            dict(use_sigmoid=True),
            (2, C),
            [index(0, 6)],
            {},
            r'label must be in \[0, 5\].* Got the label 6',
        ),
        (
            {},
            (1, C),
            [index([1.0, 1, 0, 0, 0])],
            {},
            'one class .* several.* Got the row that sums to 2',
        ),
        (
            dict(use_sigmoid=True),
            (1, C),
            [index([0.5, 0.6, 0, 0, 0])],
            {},
            'one class .* Got the row that sums to 1.1',
        ),
        ({}, (2, C), [index(0, 1, 2)], {}, r'`label` must hold .* \(2,\) or .*\(2, 5\).* \(3,\)'),
        ({}, (2, C), [index(0.0, 1.0)], {}, 'indices must be integers, but `label` is torch.float'),
        ({}, (2, C), [index(0, 1), torch.ones(2, C)], {}, r'`weight` .* each sample, .* \(2, 5\)'),
        (
            dict(use_sigmoid=True),
            (2, C),
            [index(0, 1), torch.ones(2, 3)],
            {},
            r'`weight` must give one weight for each sample or score, but got shape \(2, 3\)',
        ),
        (
            {},
            (2, C),
            [index(0, 1)],
            dict(reduction_override='average'),
            "`reduction_override` must be one of .* but got 'average'",
        ),
        (
            dict(reduction='sum'),
            (2, C),
            [index(0, 1)],
            dict(avg_factor=3.0),
            "`avg_factor` cannot be used with reduction 'sum', but got 3.0: leave it out",
        ),
    ],
)
def test_bad_call_is_refused(settings, scores, args, kwargs, message):
    with pytest.raises(ValueError, match=message):
        OLSLoss(C, **settings)(torch.zeros(scores), *args, **kwargs)


def test_weight_of_another_length_is_refused():
    """A weight of (N,) must not be spread over the classes of rows, or over the samples."""
    with pytest.raises((ValueError, RuntimeError), match='weight|expanded size'):
        OLSLoss(C)(torch.zeros(4, C), torch.zeros(4, dtype=int), torch.ones(3))


def test_background_with_sigmoid_warns():
    with pytest.warns(UserWarning, match='sigmoid heads have no background column'):
        OLSLoss(C, use_sigmoid=True, background=True)
