"""SampleWeightLoss: a loss for each sample in training, and the weights that a loop gave them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from mmdet_ols import no_teaching
from mmdet_ols.losses import SampleWeightLoss

LABEL, NUMBER = torch.tensor([2, 0, 1, 2]), torch.tensor([5, 0, 3, 5])


def scores():
    return torch.randn(4, 3, requires_grad=True)


def test_training_gets_a_loss_for_each_sample_and_a_test_their_mean():
    criterion, logits = SampleWeightLoss(3, num_samples=6, loss_weight=0.5), scores()
    plain = F.cross_entropy(logits, LABEL, reduction='none')
    # As MMPretrain's heads call it.
    assert_close(criterion(logits, LABEL, avg_factor=4, sample_idx=NUMBER), 0.5 * plain)
    with no_teaching():
        assert_close(criterion(logits, LABEL, avg_factor=4, sample_idx=NUMBER), 0.5 * plain)
    with torch.no_grad():
        assert_close(criterion(logits, LABEL, avg_factor=4), 0.5 * plain)
    assert_close(
        criterion(logits, LABEL, sample_idx=NUMBER, reduction_override='sum'), 0.5 * plain.sum()
    )
    assert_close(criterion.eval()(logits, LABEL, avg_factor=4), 0.5 * plain.mean())


def test_it_keeps_the_mean_weight_of_the_last_epoch_that_had_the_sample():
    criterion = SampleWeightLoss(3, num_samples=6)
    criterion.record_weights(NUMBER, torch.tensor([1.0, 0.25, 0.0, 2.0]))
    with no_teaching():
        criterion.record_weights(NUMBER, torch.full((4,), 9.0))
    assert criterion.state.opinion()['weight'].isnan().all()
    criterion.state.roll_over()
    nan = torch.nan
    expected = torch.tensor([0.25, nan, nan, 0.0, nan, 1.5])
    assert_close(criterion.state.opinion()['weight'], expected, equal_nan=True)
    criterion.record_weights(torch.tensor([1]), torch.tensor([0.75]))
    criterion.state.roll_over()
    expected[1] = 0.75
    assert_close(criterion.state.opinion()['weight'], expected, equal_nan=True)


def test_without_numbers_of_samples_nothing_is_kept():
    criterion = SampleWeightLoss(3)
    criterion.record_weights(NUMBER, torch.ones(4))
    assert criterion.state.num_samples == 0


def test_refusals():
    with pytest.raises(ValueError, match='softmax scores.*use_sigmoid=True'):
        SampleWeightLoss(3, use_sigmoid=True)
    with pytest.raises(ValueError, match='needs the number of each of the 4 samples'):
        SampleWeightLoss(3)(scores(), LABEL)
