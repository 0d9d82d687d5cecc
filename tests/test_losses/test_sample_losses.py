"""The losses that know their samples, against loops over samples that follow their papers."""

from __future__ import annotations

import math
import warnings
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from mmdet_ols import no_teaching
from mmdet_ols.core import SampleState
from mmdet_ols.losses import DeepSelfLearningLoss, MCorrectionLoss, PencilLoss

pytestmark = pytest.mark.filterwarnings('ignore:.* corrects no label yet')  # few tests measure

N, B, C = 12, 5, 4
MAKE = dict(
    pencil=lambda **options: PencilLoss(C, N, correct_from=0, correct_until=9, **options),
    dsl=lambda **options: DeepSelfLearningLoss(C, N, correct_from=1, **options),
    m_correction=lambda **options: MCorrectionLoss(C, N, correct_from=1, **options),
)
EVERY_LOSS = pytest.mark.parametrize('make', MAKE.values(), ids=MAKE)


def batches(count, seed=0):
    """Scores, labels and numbers; each sample keeps its label."""
    draws = torch.Generator().manual_seed(seed)
    labels = torch.arange(N) * 3 % C
    for _ in range(count):
        index = torch.randperm(N, generator=draws)[:B]
        scores = 2 * torch.randn(B, C, generator=draws, dtype=torch.float64)
        yield scores.requires_grad_(), labels[index], index


def softmax(scores):
    exps = [torch.exp(z) for z in scores]
    return [e / sum(exps) for e in exps]


def cross_entropy(p, target):
    return -sum(t * torch.log(q) for t, q in zip(target, p))


def one_hot(y):
    return [1.0 if k == y else 0.0 for k in range(C)]


# --- PENCIL --------------------------------------------------------------------------------------


def pencil_by_hand(scores, label, own, stage, a, b, compatibility):
    """The loss of one sample; `own` are its label logits, a leaf."""
    p = softmax(scores)
    if stage == 1:
        return cross_entropy(p, one_hot(label))
    q = softmax(own)
    loss = sum(p_k * (torch.log(p_k) - torch.log(q_k)) for p_k, q_k in zip(p, q)) / C
    if stage == 2:
        taken = softmax(torch.stack(q)) if compatibility == 'released' else q
        loss = loss - a * torch.log(taken[label])
        loss = loss - b / C * sum(p_k * torch.log(p_k) for p_k in p)
    return loss


@pytest.mark.parametrize('compatibility', ['released', 'paper'])
def test_pencil_is_its_paper_in_all_stages(compatibility):
    """Value, gradient and label distributions of every step, over three stages and their epochs."""
    a, b, lr = 0.3, 0.2, 9.0
    criterion = PencilLoss(
        C,
        N,
        correct_from=1,
        correct_until=3,
        compatibility_weight=a,
        entropy_weight=b,
        label_lr=lr,
        init_scale=2.0,
        compatibility=compatibility,
    )
    own: dict[int, torch.Tensor] = {}
    stages = []
    for epoch in range(4):
        criterion.begin_epoch(epoch)
        stages.append(criterion.stage)
        for scores, label, index in batches(3, seed=epoch):
            leaves = []
            for i, y in zip(index.tolist(), label.tolist()):
                start = 2.0 * torch.tensor(one_hot(y), dtype=torch.float64)
                leaves.append(own.get(i, start).clone().requires_grad_())
            total = sum(
                pencil_by_hand(z, y, leaf, criterion.stage, a, b, compatibility)
                for z, y, leaf in zip(scores, label.tolist(), leaves)
            )
            gradients = torch.autograd.grad(total / B, [scores, *leaves], allow_unused=True)
            loss = criterion(scores, label, sample_idx=index)
            # The distributions are float32.
            assert_close(loss, total / B, rtol=1e-5, atol=1e-6)
            gradient = torch.autograd.grad(loss, scores)[0]
            assert_close(gradient, gradients[0], rtol=1e-5, atol=1e-6)
            for i, leaf, gradient in zip(index.tolist(), leaves, gradients[1:]):
                step = 0 if criterion.stage != 2 else lr * gradient
                own[i] = (leaf - step).detach()
            now = criterion.state.now('logits', index).double()
            start = 2.0 * F.one_hot(label, C)
            expected = torch.stack([own[i] for i in index.tolist()])
            assert_close(start + now, expected, rtol=1e-5, atol=1e-5)
            assert bool(now.any()) == (criterion.stage > 1)
        criterion.state.roll_over()
    assert stages == [1, 2, 2, 3]


def test_pencil_moves_a_wrong_label_to_what_the_network_says():
    criterion = PencilLoss(C, N, correct_from=0, correct_until=99)
    label, index = torch.zeros(B, dtype=torch.int64), torch.arange(B)
    scores = torch.full((B, C), -3.0).index_fill(1, torch.tensor([2]), 3.0).requires_grad_()
    criterion.state.put(given=torch.zeros(N))
    for epoch in range(10):
        criterion.begin_epoch(epoch)
        criterion(scores, label, sample_idx=index)
    criterion.state.roll_over()
    opinion = criterion.state.opinion()
    assert opinion['label'].tolist() == [2] * B + [0] * (N - B)
    assert (opinion['weight'][:B] < 0.1).all() and (opinion['weight'][B:] > 0.9).all()


# --- Deep self-learning --------------------------------------------------------------------------


def test_dsl_mixes_the_corrected_label_in_from_its_start():
    criterion = DeepSelfLearningLoss(C, N, share=0.3, correct_from=2)
    corrected = torch.arange(N) % C
    for epoch in range(4):
        criterion.begin_epoch(epoch)
        for scores, label, index in batches(2):
            share = 0.3 if epoch >= 2 else 0.0
            total = 0
            for z, y, i in zip(scores, label.tolist(), index.tolist()):
                p = softmax(z)
                total = total + (1 - share) * cross_entropy(p, one_hot(y))
                total = total + share * cross_entropy(p, one_hot(i % C))
            loss = criterion(scores, label, sample_idx=index)
            assert_close(loss, total / B)
            assert_close(*(torch.autograd.grad(value, scores)[0] for value in (loss, total / B)))
        assert criterion.wants_pass() == (epoch >= 1)
        if criterion.wants_pass():
            criterion.state.put(corrected=corrected, corrections=torch.ones(()))


def test_dsl_corrects_planted_labels():
    """Three directions in the features are three classes; a quarter of the labels is wrong."""
    truth = torch.arange(240) % 3
    features = torch.eye(8)[truth] + 0.2 * torch.randn(240, 8)
    given = torch.where(torch.arange(240) % 4 == 1, (truth + 1) % 3, truth)
    criterion = DeepSelfLearningLoss(
        3, 240, correct_from=1, samples_per_class=60, prototypes=4, threshold=0.98
    )
    criterion.state.put(given=given)
    said = criterion.take(dict(feature=features))
    corrected = criterion.state.opinion()['label']
    assert (corrected == truth).float().mean() >= 0.98 > (given == truth).float().mean()
    assert f'{int((given != corrected).sum())} of 240 differ' in said


def test_dsl_draws_the_samples_of_a_class_by_seed_and_epoch():
    features, given = torch.randn(200, 4), torch.arange(200) % C

    def corrected(seed, epoch):
        criterion = DeepSelfLearningLoss(C, 200, samples_per_class=12)
        criterion.state.put(given=given)
        criterion.begin_epoch(epoch, seed)
        criterion.take(dict(feature=features))
        return criterion.state.corrected.tolist()

    assert corrected(1, 5) == corrected(1, 5)
    assert corrected(1, 5) != corrected(2, 5) and corrected(1, 5) != corrected(1, 6)
    criterion = DeepSelfLearningLoss(C)
    criterion.begin_epoch(0, 7)
    criterion.begin_epoch(1)
    assert (criterion.epoch, criterion.seed) == (1, 7)


def test_dsl_corrects_nothing_before_it_knows_the_labels():
    """Otherwise all samples were of class 0, and every label would be corrected to it."""
    criterion = DeepSelfLearningLoss(C, N, correct_from=1)
    with pytest.raises(ValueError, match=r'the given labels.* call .*put\(given=labels\)'):
        criterion.take(dict(feature=torch.randn(N, 4)))
    assert not criterion.state.is_known
    criterion.state.put(given=torch.arange(N) % C)
    criterion.take(dict(feature=torch.randn(N, 4)))
    assert criterion.state.is_known


# --- M-correction --------------------------------------------------------------------------------


def told_apart(**options):
    """A loss that has seen the losses of all samples: small and large ones."""
    criterion = MCorrectionLoss(C, N, correct_from=1, **options)
    criterion.state.put(given=torch.zeros(N))
    losses = torch.linspace(0.1, 0.5, N // 2).repeat(2)
    losses[N // 2 :] += 3
    said = criterion.take(dict(loss=losses, prediction=torch.arange(N) % C))
    assert f'{N // 2} of {N} labels are rather wrong' in said
    criterion.begin_epoch(1)
    return criterion


@pytest.mark.parametrize('wrong_by', ['batch', 'epoch'])
@pytest.mark.parametrize('bootstrapping', ['hard', 'soft'])
def test_m_correction_bootstraps_by_the_mixture(bootstrapping, wrong_by):
    criterion = told_apart(bootstrapping=bootstrapping, wrong_by=wrong_by)
    low, high = criterion.state.loss_range.tolist()
    table = criterion.state.table.tolist()
    seen = []
    for scores, label, index in batches(3):
        measured = scores.detach().roll(1, 0)
        rows = criterion.corrected_rows(scores, label, index, measured)
        alike = criterion.corrected_rows(scores, label, index, scores)
        assert_close(criterion.corrected_rows(scores, label, index), alike)
        for z, m, y, i, row in zip(scores, measured, label.tolist(), index.tolist(), rows):
            p = softmax(z.detach())
            w = float(criterion.state.wrong[i])
            if wrong_by == 'batch':
                x = (float(cross_entropy(softmax(m), one_hot(y))) - low) / (high - low)
                x = min(max(x, 1e-3), 1 - 1e-3)
                w = min(max(table[min(int(100 * x), 99)], 1e-4), 1 - 1e-4)
            own = [float(q) for q in p] if bootstrapping == 'soft' else one_hot(int(z.argmax()))
            expected = [(1 - w) * t + w * q for t, q in zip(one_hot(y), own)]
            assert_close(row, torch.tensor(expected), rtol=1e-5, atol=1e-6)
            seen.append(w)
    assert min(seen) < 0.1 and max(seen) > 0.9


def test_m_correction_keeps_the_mean_prediction_even():
    criterion = told_apart(prior_weight=0.7)
    for scores, _, index in batches(2):
        rows = torch.rand(B, C, dtype=torch.float64).softmax(1)
        p = [softmax(z) for z in scores]
        total = sum(cross_entropy(q, row.tolist()) for q, row in zip(p, rows)) / B
        mean = [sum(q[k] for q in p) / B for k in range(C)]
        total = total + 0.7 * sum(1 / C * (math.log(1 / C) - torch.log(m)) for m in mean)
        loss = criterion(scores, rows, avg_factor=B, sample_idx=index)
        assert_close(loss, total)
        assert_close(*(torch.autograd.grad(value, scores)[0] for value in (loss, total)))


def test_m_correction_starts_with_given_labels():
    criterion = told_apart()
    criterion.begin_epoch(0)
    for scores, label, index in batches(2):
        assert torch.equal(
            criterion.corrected_rows(scores, label, index), F.one_hot(label, C).float()
        )
        loss = criterion(scores, label, sample_idx=index)
        assert_close(loss, F.cross_entropy(scores, label))
    untold = MCorrectionLoss(C, N, correct_from=1)
    assert not untold.corrects and untold.state.opinion() == {}


@pytest.mark.parametrize('loss', [MCorrectionLoss, DeepSelfLearningLoss])
def test_a_pass_that_was_left_out_is_said(loss):
    criterion = loss(C, N, correct_from=2)
    criterion.begin_epoch(1)
    with pytest.warns(UserWarning, match='should from epoch 2 on, since .* call `take`'):
        criterion.begin_epoch(2)
    criterion.state.put(given=torch.arange(N) % C)
    criterion.take(dict(loss=torch.rand(N), prediction=torch.zeros(N), feature=torch.rand(N, 4)))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        criterion.begin_epoch(3)


@pytest.mark.parametrize(
    ('loss', 'name'), [(MCorrectionLoss, 'loss'), (DeepSelfLearningLoss, 'feature')]
)
def test_nothing_is_learned_from_a_network_that_has_diverged(loss, name):
    criterion = loss(num_classes=C, num_samples=N)
    before = {key: value.clone() for key, value in criterion.state_dict().items()}
    measured = dict(loss=torch.rand(N), prediction=torch.zeros(N), feature=torch.rand(N, 4))
    measured[name][1] = torch.nan
    measured[name].flatten()[-1] = torch.inf
    with pytest.raises(ValueError, match=f'`{name}`.* 2 of {N} training samples.*lower learning'):
        criterion.take(measured)
    assert_close(criterion.state_dict(), before, rtol=0, atol=0)


def test_a_share_of_1_is_not_the_ignored_class_1():
    """`MCorrectionClassifier` sends rows, in which ignored samples have zeros already."""
    scores, label, index = next(batches(1))
    criterion = MCorrectionLoss(C, N, ignore_index=1)
    rows = criterion.corrected_rows(scores, label, index)
    expected = F.cross_entropy(scores, label, ignore_index=1, reduction='sum') / B
    assert_close(criterion(scores, rows, sample_idx=index), expected)


def test_m_correction_measures_images_without_a_label():
    scores, label, _ = next(batches(1))
    label[0] = 255
    classifier = SimpleNamespace(head=lambda feats: feats, extract_feat=lambda inputs: inputs)
    samples = [SimpleNamespace(gt_label=y[None]) for y in label]
    measured = MCorrectionLoss(C, ignore_index=255).measure(classifier, scores, samples)
    expected = F.cross_entropy(scores.float(), label, reduction='none', ignore_index=255)
    assert_close(measured['loss'], expected)


def test_m_correction_looks_at_the_samples_from_the_epoch_before_its_start():
    criterion = MCorrectionLoss(C, N, correct_from=2)
    wanted = []
    for epoch in range(4):
        criterion.begin_epoch(epoch)
        wanted.append(criterion.wants_pass())
    assert wanted == [False, True, True, True]


def test_m_correction_leaves_samples_without_a_label_out():
    criterion, without = MCorrectionLoss(C, N + 2, correct_from=1), told_apart()
    losses = torch.cat([without.state.loss, torch.tensor([0.0, 50.0])])
    criterion.state.put(given=torch.tensor([0] * N + [-1, -1]))
    criterion.take(dict(loss=losses, prediction=torch.ones(N + 2)))
    for name in ('mixture', 'loss_range', 'table'):
        assert_close(getattr(criterion.state, name), getattr(without.state, name))
    opinion = criterion.state.opinion()
    assert opinion['label'][N:].tolist() == [-1, -1] and opinion['weight'][N:].isnan().all()


def test_m_correction_counts_no_ignored_sample():
    criterion = told_apart(ignore_index=1, prior_weight=0.7, reduction='none')
    scores, label, index = next(batches(1))
    label[0], label[1:] = 1, 2
    rows = criterion.corrected_rows(scores, label, index)
    each = criterion(scores, rows, sample_idx=index)
    assert not rows[0].any() and each[0] == 0
    assert_close(each[1:], criterion(scores[1:], rows[1:], sample_idx=index[1:]))


def test_m_correction_has_an_opinion():
    opinion = told_apart().state.opinion()
    predictions = (torch.arange(N) % C).tolist()
    assert opinion['label'].tolist() == [0] * (N // 2) + predictions[N // 2 :]
    assert (opinion['weight'][: N // 2] > 0.5).all() and (opinion['weight'][N // 2 :] < 0.5).all()


# --- What all have in common ---------------------------------------------------------------------


@EVERY_LOSS
def test_without_training_it_is_the_plain_cross_entropy(make):
    criterion = make().eval()
    criterion.begin_epoch(3)
    for scores, label, _ in batches(2):
        assert_close(criterion(scores, label), F.cross_entropy(scores, label))


@EVERY_LOSS
def test_a_trial_costs_the_same_and_teaches_nothing(make):
    criterion = make()
    criterion.begin_epoch(3)
    (scores, label, index), other = batches(2)
    before = {key: value.clone() for key, value in criterion.state_dict().items()}
    with no_teaching():
        trial = criterion(scores, label, sample_idx=index)
    with torch.no_grad():
        assert_close(criterion(scores, label, sample_idx=index), trial.detach())
    assert_close(criterion.state_dict(), before)
    assert_close(criterion(scores, label, sample_idx=index), trial)


@EVERY_LOSS
def test_calls_are_those_of_the_hosts(make):
    """Weights, divisors, reductions, ignored labels and half precision."""
    first = make(ignore_index=1, loss_weight=2.0, reduction='none')
    other = make()
    for criterion in (first, other):
        criterion.begin_epoch(3)
    scores, label, index = next(batches(1))
    label[0], label[1:] = 1, 2
    each = first(scores, label, sample_idx=index)
    assert each.shape == (B,) and each[0] == 0
    expected = other(scores[1:], label[1:], sample_idx=index[1:], reduction_override='none')
    assert_close(each[1:], 2 * expected)
    fresh = make()
    fresh.begin_epoch(3)
    weight = torch.rand(B)
    loss = fresh(scores, label, weight, avg_factor=3.0, sample_idx=index, ignore_index=1)
    assert_close(loss, (each / 2 * weight).sum() / 3, rtol=1e-5, atol=1e-6)
    half = make()
    half.begin_epoch(3)
    assert half(scores.half(), label, sample_idx=index).dtype == torch.float32


@EVERY_LOSS
def test_numbers_are_needed_in_training(make):
    scores, label, index = next(batches(1))
    criterion = make()
    for wrong in (None, index[1:], index.float()):
        with pytest.raises(ValueError, match='needs the number of each of the 5 samples'):
            criterion(scores, label, sample_idx=wrong)
    with pytest.raises(ValueError, match=r'a row for each sample'):
        criterion(scores[None], label[None], sample_idx=index)


@EVERY_LOSS
def test_sigmoid_scores_are_refused(make):
    with pytest.raises(ValueError, match='defined for softmax scores'):
        make(use_sigmoid=True)


@pytest.mark.parametrize(
    'make, message',
    [
        (lambda: PencilLoss(C, correct_from=3, correct_until=3), '0 <= correct_from < correct'),
        (
            lambda: PencilLoss(C, compatibility_weight=-1),
            '`compatibility_weight` must be at',
        ),
        (lambda: PencilLoss(C, entropy_weight=float('nan')), '`entropy_weight` must be at least 0'),
        (lambda: PencilLoss(C, label_lr=0), '`label_lr` must be above 0'),
        (lambda: PencilLoss(C, init_scale=-1), '`init_scale` must be above 0'),
        (lambda: PencilLoss(C, compatibility='code'), '`compatibility` must be one of'),
        (lambda: PencilLoss(C, class_weight=[1.0] * C), 'no weights of single classes'),
        (lambda: DeepSelfLearningLoss(C, share=1.5), '`share`, the share of the corrected label,'),
        (lambda: DeepSelfLearningLoss(C, correct_from=0), '`correct_from` must be a positive'),
        (lambda: DeepSelfLearningLoss(C, prototypes=0), '`prototypes` must be a positive'),
        (lambda: DeepSelfLearningLoss(C, samples_per_class=0.5), '`samples_per_class` must be a'),
        (lambda: DeepSelfLearningLoss(C, top_share=0), '`top_share`, the share of similar pairs'),
        (lambda: DeepSelfLearningLoss(C, selection='eta'), '`selection` must be one of'),
        (lambda: MCorrectionLoss(C, bootstrapping='firm'), '`bootstrapping` must be one of'),
        (lambda: MCorrectionLoss(C, wrong_by='step'), '`wrong_by` must be one of'),
        (lambda: MCorrectionLoss(C, correct_from=0), '`correct_from` must be a positive'),
        (lambda: MCorrectionLoss(C, em_iterations=0), '`em_iterations` must be a positive'),
        (lambda: MCorrectionLoss(C, mixup_alpha=-1), '`mixup_alpha` must be at least 0'),
        (lambda: MCorrectionLoss(C, prior_weight=-1), '`prior_weight` must be at least 0'),
    ],
)
def test_bad_options_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@EVERY_LOSS
def test_what_is_known_is_saved(make):
    criterion = make()
    criterion.state.put(given=torch.arange(N) % C)
    criterion.begin_epoch(3)
    scores, label, index = next(batches(1))
    criterion(scores, label, sample_idx=index)
    criterion.state.roll_over()
    other = type(criterion)(C)
    assert isinstance(other.state, SampleState) and other.state.num_samples == 0
    other.load_state_dict(criterion.state_dict())
    assert_close(other.state.opinion(), criterion.state.opinion())
