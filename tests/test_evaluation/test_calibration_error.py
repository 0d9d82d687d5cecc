"""The calibration error, against a loop over bins and samples."""

import math
import sys

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator

from mmdet_ols import CalibrationError


def samples(scores, labels):
    """What MMPretrain's data samples are as dicts."""
    return [
        dict(pred_score=torch.tensor(score), gt_label=torch.tensor([label]))
        for score, label in zip(scores, labels)
    ]


def by_hand(scores, labels, bins, norm='l1'):
    """(low, high], as Guo et al. have it."""
    errors, shares = [], []
    for index in range(bins):
        low, high = index / bins, (index + 1) / bins
        inside = [
            (max(s), np.argmax(s) == y) for s, y in zip(scores, labels) if low < max(s) <= high
        ]
        if inside:
            confidence, right = np.mean(inside, axis=0)
            errors.append(abs(right - confidence))
            shares.append(len(inside) / len(labels))
    errors, shares = np.array(errors), np.array(shares)
    value = {
        'l1': (errors * shares).sum(),
        'l2': (errors**2 * shares).sum() ** 0.5,
        'max': errors.max(),
    }[norm]
    return 100 * value


def evaluate(scores, labels, **kwargs):
    evaluator = Evaluator(dict(type='CalibrationError', **kwargs))
    packed = samples(scores, labels)
    for start in range(0, len(packed), 7):
        evaluator.process(packed[start : start + 7])
    return evaluator.evaluate(len(packed))


@pytest.fixture
def predictions():
    """Scores of 4 classes with a share of certain ones, and labels that often fit."""
    rng = np.random.default_rng(0)
    scores = rng.dirichlet(0.4 * np.ones(4), 200).astype(np.float32)
    scores[:40] = np.eye(4, dtype=np.float32)[rng.integers(0, 4, 40)]
    labels = np.where(rng.random(200) < 0.7, scores.argmax(1), rng.integers(0, 4, 200))
    return scores, labels


@pytest.mark.parametrize(('norm', 'name'), [('l1', 'ece'), ('max', 'mce'), ('l2', 'rmsce')])
@pytest.mark.parametrize('bins', [15, 4])
def test_is_the_gap_between_confidence_and_accuracy(predictions, norm, name, bins):
    scores, labels = predictions
    assert (scores.max(axis=1) == 1).sum() >= 40  # they belong into the last bin
    values = evaluate(scores, labels, norm=norm, n_bins=bins)
    assert values == {
        f'calibration/{name}': pytest.approx(by_hand(scores, labels, bins, norm), abs=1e-4)
    }


def test_fifteen_bins_unless_told_otherwise(predictions):
    assert evaluate(*predictions) == evaluate(*predictions, n_bins=15, norm='l1')


def test_a_confidence_on_an_inner_edge_counts_upwards():
    """The one difference to Guo et al. that is left: 0.25 and 0.75 are in [0.75, 1) here."""
    scores, labels = np.float32([[0.75, 0.25], [0.8, 0.2], [0.6, 0.4]]), [0, 1, 0]
    together, apart = evaluate(scores, labels, n_bins=4), by_hand(scores, labels, 4)
    assert together['calibration/ece'] == pytest.approx(100 * (2 * 0.275 + 0.4) / 3, abs=1e-4)
    assert apart == pytest.approx(100 * (2 * (1 - 0.675) + 0.8) / 3, abs=1e-4)


def test_scores_that_are_no_probabilities_are_refused():
    with pytest.raises(ValueError, match=r'scores between 0 and 1, but .* are 2 to 3'):
        evaluate([[2.0, 1.0], [3.0, 0.0]], [0, 1])


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(n_bins=0), '`n_bins` must be a positive integer, but got 0'),
        (dict(n_bins=1.5), '`n_bins` must be a positive integer, but got 1.5'),
        (dict(norm='l3'), "`norm` must be one of .*, but got 'l3'"),
    ],
)
def test_bad_settings_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        CalibrationError(**kwargs)


def test_without_torchmetrics_it_says_so_before_the_training(monkeypatch):
    monkeypatch.setitem(sys.modules, 'torchmetrics', None)
    with pytest.raises(ImportError, match='pip install torchmetrics'):
        CalibrationError()


def test_a_network_that_has_diverged_has_no_error_and_ends_no_training():
    assert math.isnan(evaluate([[math.nan, math.nan], [0.5, 0.5]], [0, 1])['calibration/ece'])


@pytest.mark.parametrize('labels', ([[0, 1], []], [[0, 1]]))
def test_a_sample_of_several_labels_is_refused(labels):
    """Otherwise labels would be compared with predictions of other samples."""
    packed = [
        dict(pred_score=torch.tensor([0.9, 0.1]), gt_label=torch.tensor(label, dtype=torch.long))
        for label in labels
    ]
    with pytest.raises(ValueError, match='must have exactly one label'):
        CalibrationError().process(None, packed)
