"""One state for several losses, and the names under which states are found."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from test_core.loss_steps import (
    EVERY_LOSS,
    C,
    assert_equal_steps,
    exactly,
    scores_and_labels,
    taught_loss,
    tensors,
)
from torch import nn
from torch.testing import assert_close

from mmdet_ols import OLSLoss, OLSSingleLoss, OLSSparseLoss
from mmdet_ols.core import (
    PredictionBank,
    SoftLabels,
    SparseSoftLabels,
    find_states,
    state_paths,
)


@EVERY_LOSS
def test_losses_with_one_state_learn_and_read_together(make):
    one = make(C)
    other = make(C, state=one.state)
    apart = make(C)
    for criterion in (one, other):
        batch = scores_and_labels()
        for learner in (criterion, apart):
            torch.manual_seed(7)
            learner(*batch)
    exactly(one.sample_count, other.sample_count)
    assert one.sample_count.sum() == 40
    one.update_soft_labels()
    apart.update_soft_labels()
    exactly(other.soft_labels, one.soft_labels)
    assert_close(tensors(other), tensors(apart))
    assert other.sample_count.sum() == 0


def test_a_shared_state_is_found_once_and_saved_under_both_paths():
    def model():
        first = OLSLoss(C)
        return nn.ModuleDict(dict(first=first, second=OLSLoss(C, state=first.state)))

    source, target = model(), model()
    taught_loss(source['second'])
    assert find_states(source) == {'first': source['first'].state}
    assert set(state_paths(source)) == {'first.state', 'second.state'}
    file = io.BytesIO()
    torch.save(source.state_dict(), file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    assert {'first.state.prob_sum', 'second.state.prob_sum'} <= set(saved)
    target.load_state_dict(saved)
    assert target['first'].state is target['second'].state
    assert_equal_steps(source['first'], target['second'])
    twin = copy.deepcopy(source)
    assert twin['first'].state is twin['second'].state is not source['first'].state


def test_names_of_states():
    shared = SoftLabels(C)
    model = nn.ModuleDict(
        dict(
            labels=shared,
            head=nn.ModuleDict(dict(loss_cls=OLSLoss(C))),
            other=OLSLoss(C, state=shared),
        )
    )
    assert find_states(model) == {
        'labels': shared,
        'head.loss_cls': model['head']['loss_cls'].state,
    }
    criterion = OLSLoss(C)
    assert find_states(criterion) == {'': criterion.state}
    assert find_states(shared) == {'': shared}
    assert find_states(nn.Linear(1, 1)) == {}


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        (dict(state=SparseSoftLabels(C)), TypeError, '`state` of OLSLoss must be a SoftLabels, .*'),
        (dict(state=SoftLabels(C + 1)), ValueError, '`state` must have num_classes=5, .* has 6'),
        (dict(state=SoftLabels(C, True)), ValueError, '`state` must have background=False'),
        (
            dict(state=SoftLabels(C), use_sigmoid=True, sigmoid_reading='mean'),
            ValueError,
            "`state` must have divide_by='count'",
        ),
        (
            dict(state=SoftLabels(C), start='zeros'),
            ValueError,
            "`start` is an option of the state, .* 'uniform', but got 'zeros': leave it out",
        ),
        (
            dict(state=SoftLabels(C, freeze_confidence=0.8), freeze_confidence=0.9),
            ValueError,
            '`freeze_confidence` is an option of the state, .* 0.8, but got 0.9',
        ),
    ],
)
def test_a_state_that_does_not_fit_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        OLSLoss(C, **options)


def test_options_of_a_state_may_be_left_out_or_agree():
    state = SoftLabels(C, start='zeros', empty_class='uniform')
    OLSLoss(C, state=state)
    OLSLoss(C, state=state, start='zeros')
    bank = PredictionBank(C, 7)
    assert OLSSingleLoss(C, state=bank).bank_size == 7
    with pytest.raises(ValueError, match='`bank_size` is an option of the state'):
        OLSSingleLoss(C, state=bank, bank_size=8)
    sparse = SparseSoftLabels(C, 3)
    assert OLSSparseLoss(C, state=sparse, top_m=3).top_m == 3
    with pytest.raises(ValueError, match='`top_m` is an option of the state'):
        OLSSparseLoss(C, state=sparse, top_m=4)
