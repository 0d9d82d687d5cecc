"""OLSSparseLoss: the dense loss where all entries are kept, and what it is in a training."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from reference import Reference
from test_losses.harness import C as CLASSES
from test_losses.harness import LossContract, Method, fixed_soft_labels, soft_label_loop
from torch import nn
from torch.testing import assert_close
from toy_runner import EMA, exactly, make_batches, train, train_by_hand

from mmdet_ols import OLSLoss, OLSSparseLoss
from mmdet_ols.analysis import soft_labels_in_checkpoint

C = 6


def with_all_entries(**options):
    """As many entries as columns: the target is that of `with_soft_labels`."""
    criterion = OLSSparseLoss(CLASSES, top_m=CLASSES + 1, **options)
    values, columns = fixed_soft_labels(criterion).sort(descending=True)
    criterion.state.soft_columns.copy_(columns)
    criterion.state.soft_values.copy_(values)
    return criterion


class TestOLSSparseLoss(LossContract):
    methods = {
        'OLS, sparse': Method(partial(with_all_entries, alpha=0.3), soft_label_loop),
    }
    neutral = {
        'alpha 1': partial(with_all_entries, alpha=1.0),
    }


def sums_of(criterion):
    """As OLSLoss has them."""
    state = criterion.state
    rows = torch.zeros(C, C).scatter(1, state._slots().column, state.slot_sum)
    counts = {name: getattr(criterion, name) for name in ('correct_count', 'sample_count')}
    return dict(counts, soft_labels=criterion.soft_labels, prob_sum=rows)


@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(alpha=0.2, start='zeros', empty_class='uniform', freeze_confidence=0.8),
        dict(start='label_smoothing', use_sigmoid=True),
        dict(use_sigmoid=True, sigmoid_reading='mean', gamma=1.5),
        dict(use_sigmoid=True, sigmoid_reading='softmax'),
    ],
    ids=lambda options: ','.join(map(str, options)) or 'paper',
)
def test_with_all_entries_a_training_equals_algorithm_1_and_the_dense_loss(options):
    """Of class 5 no sample is ever right: those of it look just like class 0."""
    look = torch.tensor([0, 1, 2, 3, 4, 0] * 4)
    label = torch.where(torch.arange(24) == 23, 5, look)
    features = 2 * F.one_hot(look, C) + 0.5 * torch.randn(24, C)
    criteria = {
        'sparse': OLSSparseLoss(C, top_m=C, **options),
        'dense': OLSLoss(C, implementation='plain', **options),
    }
    weights = {name: torch.eye(C).requires_grad_() for name in (*criteria, 'loop')}
    loop, sigmoid = Reference(C, **options), 'use_sigmoid' in options
    for _ in range(3):
        for chosen in torch.randperm(24).split(9):
            losses = {
                name: criterion(features[chosen] @ weights[name], label[chosen])
                for name, criterion in criteria.items()
            }
            losses['loop'] = 0
            for i in chosen.tolist():
                scores = features[i] @ weights['loop']
                losses['loop'] += sum(loop.loss(scores, int(label[i])))
                loop.learn(scores.detach(), int(label[i]))
            losses['loop'] = losses['loop'] / len(chosen) / (C if sigmoid else 1)
            for name, loss in losses.items():
                (gradient,) = torch.autograd.grad(loss, weights[name])
                assert gradient.abs().max() > 1e-3
                weights[name] = (weights[name].detach() - gradient).requires_grad_()
            for name in ('dense', 'loop'):
                assert_close(losses['sparse'], losses[name], rtol=1e-5, atol=1e-6)
                assert_close(weights['sparse'], weights[name], rtol=1e-5, atol=1e-6)
            assert_close(sums_of(criteria['sparse']), loop.tensors(), rtol=1e-5, atol=1e-5)
        for criterion in criteria.values():
            criterion.update_soft_labels()
        loop.roll_over()
        assert_close(sums_of(criteria['sparse']), loop.tensors(), rtol=1e-5, atol=1e-6)


def after_an_epoch(**options):
    """Of seven columns two are kept, and the samples of class 0 were taken for those of class 1."""
    criterion = OLSSparseLoss(C, 0.4, top_m=2, background=True, reduction='none', **options)
    label = torch.arange(3 * C) % C
    scores = 3 * F.one_hot(label, C + 1) + torch.rand(3 * C, C + 1)
    scores[label == 0, 1] += 2
    criterion(scores.requires_grad_(), label)
    criterion.update_soft_labels()
    return criterion


def test_few_entries_cost_what_the_matrix_would():
    criterion = after_an_epoch().eval()
    dense = OLSLoss(C, 0.4, background=True, reduction='none', implementation='plain').eval()
    dense.soft_labels.copy_(criterion.soft_labels)
    row = criterion.soft_labels[0]
    assert row[1] > 3 * row[2] and (row[2:] == row[2]).all()
    scores, label = torch.randn(20, C + 1), torch.randint(C + 1, (20,))
    rows = 0.7 * F.one_hot(label, C + 1) + 0.3 * F.one_hot(torch.randint(C + 1, (20,)), C + 1)
    label[:3] = -100
    for labels in (label, rows):
        actual = []
        for each in (criterion, dense):
            z = scores.clone().requires_grad_()
            loss = each(z, labels)
            actual.append((loss, torch.autograd.grad(loss.sum(), z)[0]))
        assert_close(*actual)
    half = scores.bfloat16()
    assert_close(criterion(half, label), dense(half.float(), label))
    with torch.autocast('cpu', torch.bfloat16):
        assert_close(criterion(scores, rows), dense(scores, rows))


def test_mixed_samples_teach_their_class():
    criterion = after_an_epoch()
    scores = 5 * F.one_hot(torch.tensor([2, 2, 3]), C + 1).float()
    scores[:, 4] = 2
    rows = F.one_hot(torch.tensor([2, 2, 3]), C + 1).float()
    rows[2] = torch.tensor([0, 0, 0, 0.6, 0.4, 0, 0])  # too mixed
    criterion(scores.requires_grad_(), rows)
    assert criterion.sample_count.tolist() == [0, 0, 2, 0, 0, 0, 0]
    criterion.update_soft_labels()
    assert criterion.state.soft_columns[2].tolist() == [2, 4]


def test_large_numbers_of_classes_take_little_memory():
    criterion = OLSSparseLoss(21841)
    state = sum(tensor.nbytes for tensor in criterion.state_dict().values())
    assert state < 71e6
    saved = repr(criterion)
    assert 'top_m=100' in saved and 'num_classes=21841' in saved


def test_arguments_are_checked():
    with pytest.raises(ValueError, match='`top_m` must be a positive integer, but got 0'):
        OLSSparseLoss(C, top_m=0)
    with pytest.raises(ValueError, match='OLSSparseLoss has no fused form'):
        OLSSparseLoss(C, implementation='fused')


def test_copies_and_pickles_of_a_model_learn_by_themselves():
    criterion = after_an_epoch()
    twin = copy.deepcopy(nn.ModuleList([criterion]))[0]
    scores, label = torch.randn(9, C + 1).requires_grad_(), torch.randint(C, (9,))
    before = criterion.sample_count.clone()
    twin(scores, label)
    exactly(criterion.sample_count, before)
    assert twin.sample_count.sum() == 9


# --- in MMEngine ---------------------------------------------------------------------------------

SPARSE = dict(type='OLSSparseLoss', num_classes=4, background=True)
FEW = dict(SPARSE, top_m=1)


def saved(path):
    return torch.load(path, map_location='cpu', weights_only=False)['state_dict']


@pytest.fixture(autouse=True)
def live_state_without_a_matrix_of_sums(monkeypatch):
    monkeypatch.setattr('toy_runner.STATE', ('soft_labels', 'correct_count', 'sample_count'))


def test_a_run_equals_the_loop_and_its_checkpoint_can_be_read(tmp_path):
    result = train(tmp_path, make_batches(), epochs=2, loss=SPARSE, save=dict(interval=1))
    _, rolled = train_by_hand(2 * make_batches(), len(make_batches()))
    expected = rolled[2 * len(make_batches())]['soft_labels']
    assert_close(result['state']['head']['soft_labels'], expected)
    matrices = soft_labels_in_checkpoint(dict(state_dict=saved(tmp_path / 'epoch_2.pth')))
    assert_close(matrices, {'losses.head': expected})
    assert len(list(tmp_path.glob('soft_labels/losses.head/*.npy'))) == 3


@pytest.mark.parametrize('hooks', EMA.values(), ids=EMA)
def test_resuming_in_the_middle_of_a_period(tmp_path, hooks):
    arguments = dict(
        iters=8,
        loss=FEW,
        ols=dict(by_epoch=False, interval=4),
        save=dict(by_epoch=False, interval=2),
        hooks=hooks,
    )
    batches = make_batches(8)
    train(tmp_path / 'whole', batches, **arguments)
    start = tmp_path / 'whole' / 'iter_6.pth'
    assert saved(start)['losses.head.state.untracked'].any()
    train(tmp_path / 'resumed', batches, resume_from=start, **arguments)
    ends = [saved(tmp_path / run / 'iter_8.pth') for run in ('whole', 'resumed')]
    exactly(*ends)


def test_a_new_training_starts_with_empty_slots_and_the_hook_says_what_is_missing(tmp_path):
    arguments = dict(iters=3, ols=dict(by_epoch=False, interval=2))
    save = dict(by_epoch=False, interval=1)
    train(tmp_path / 'first', make_batches(), loss=FEW, save=save, lr=0.0, **arguments)
    middle = tmp_path / 'first' / 'iter_3.pth'
    assert saved(middle)['losses.head.state.slot_sum'].any()
    new = train(tmp_path / 'new', make_batches(), loss=FEW, load_from=middle, **arguments)
    count = (make_batches()[0]['label'] < 4).sum().float()
    exactly(new['iterations'][1]['head']['sample_count'].sum(), count)
    assert 'holds no soft labels' not in new['log']

    dense = train(tmp_path / 'dense', make_batches(), save=save, **arguments)
    assert 'holds no soft labels' not in dense['log']
    other = train(
        tmp_path / 'other', make_batches(), loss=FEW,
        load_from=tmp_path / 'dense' / 'iter_3.pth', **arguments,
    )  # fmt: skip
    assert 'The checkpoint holds no soft labels for losses.head' in other['log']
