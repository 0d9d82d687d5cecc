"""The mixture of two beta distributions, against loops over values and known parameters."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from mmdet_ols.core.beta_mixture import fit_beta_mixture, fit_losses


def density(x, alpha, beta):
    norm = math.gamma(alpha + beta) / (math.gamma(alpha) * math.gamma(beta))
    return norm * x ** (alpha - 1) * (1 - x) ** (beta - 1)


def em_by_hand(values, iterations):
    """Alpha, beta and share of two components, one value at a time."""
    components = [(1.0, 2.0, 0.5), (2.0, 1.0, 0.5)]
    for _ in range(iterations):
        weights = []
        for x in values:
            joint = [share * density(x, a, b) for a, b, share in components]
            weights.append([j / sum(joint) for j in joint])
        components = []
        for k in range(2):
            total = sum(w[k] for w in weights)
            mean = sum(w[k] * x for w, x in zip(weights, values)) / total
            variance = sum(w[k] * (x - mean) ** 2 for w, x in zip(weights, values)) / total
            alpha = mean * (mean * (1 - mean) / variance - 1)
            components.append((alpha, alpha * (1 - mean) / mean, total / len(values)))
    return components


def drawn(count=300, seed=0, parameters=((2, 8), (6, 3)), share=0.4):
    rng = np.random.default_rng(seed)
    wrong = rng.random(count) < share
    values = np.where(wrong, rng.beta(*parameters[1], count), rng.beta(*parameters[0], count))
    return values.clip(1e-3, 1 - 1e-3), wrong


@pytest.mark.parametrize('iterations', [1, 2, 10])
def test_steps_are_those_of_a_loop(iterations):
    values, _ = drawn(60)
    actual = fit_beta_mixture(torch.tensor(values), iterations)
    expected = torch.tensor(em_by_hand(values.tolist(), iterations)).double()
    assert_close(torch.stack(list(actual)).T, expected, rtol=1e-6, atol=1e-9)


def test_known_parameters_are_estimated():
    values, wrong = drawn(20000, parameters=((2, 10), (10, 3)))
    mixture = fit_beta_mixture(torch.tensor(values), 100)
    assert_close(mixture.means, torch.tensor([2 / 12, 10 / 13]).double(), rtol=0.03, atol=0)
    assert_close(mixture.share, torch.tensor([0.6, 0.4]).double(), rtol=0.05, atol=0)
    assert_close(mixture.alpha, torch.tensor([2.0, 10.0]).double(), rtol=0.15, atol=0)
    assert_close(mixture.beta, torch.tensor([10.0, 3.0]).double(), rtol=0.15, atol=0)
    told = mixture.high_probability(torch.tensor(values)) > 0.5
    assert (told.numpy() == wrong).mean() > 0.95


def percentile(values, percentage):
    ordered = sorted(values)
    place = percentage / 100 * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def test_losses_become_probabilities_as_in_a_loop():
    values, _ = drawn(200)
    losses = (-1.5 * np.log(1 - values)).tolist()
    low, high = percentile(losses, 5), percentile(losses, 95)
    inside = [x for x in losses if low <= x <= high]

    def normalise(x):
        return min(max((x - low) / (high - low), 1e-3), 1 - 1e-3)

    components = em_by_hand([normalise(x) for x in inside], 10)
    means = [a / (a + b) for a, b, _ in components]
    wrong = means.index(max(means))
    table = []
    for point in np.linspace(0, 1, 100).clip(1e-12, 1 - 1e-12):
        joint = [share * density(point, a, b) for a, b, share in components]
        table.append(joint[wrong] / sum(joint))
    top = table.index(max(table))
    table = table[: top + 1] + [table[top]] * (len(table) - top - 1)
    expected = [min(max(table[min(int(100 * normalise(x)), 99)], 1e-4), 1 - 1e-4) for x in losses]

    told = fit_losses(torch.tensor(losses).double())
    actual = told.wrong_probability(torch.tensor(losses).double())
    assert_close(actual, torch.tensor(expected).double(), rtol=1e-6, atol=1e-9)
    assert_close(torch.stack(list(told.scale)), torch.tensor([low, high]).double())
    assert statistics.pstdev(expected) > 0.2


def test_large_losses_never_look_right():
    values, _ = drawn(500, parameters=((2, 20), (40, 30)))
    told = fit_losses(torch.tensor(values))
    assert (told.table[told.table.argmax() :] == told.table.max()).all()
    assert told.wrong_probability(torch.tensor([1e6, -1e6])).tolist() == pytest.approx(
        [min(float(told.table.max()), 1 - 1e-4), max(float(told.table[0]), 1e-4)]
    )


def test_small_losses_never_look_wrong():
    """Also where the component of the wrong labels is so broad that its density is larger there."""
    rng = np.random.default_rng(1)
    losses = torch.tensor(np.exp(rng.normal(-2, 0.4, 400)))
    losses[:20] = torch.tensor(rng.uniform(1, 4, 20))
    told = fit_losses(losses)
    low, high = told.mixture.means.argsort()
    assert told.mixture.alpha[high] < told.mixture.alpha[low]
    assert (told.table.diff() >= 0).all()
    looks_wrong = told.wrong_probability(losses) > 0.5
    assert looks_wrong[:20].all() and looks_wrong.sum() < 40


@pytest.mark.parametrize('losses', [[1.0] * 9, [0.0, 1.0], [0.0] * 50 + [3.0]])
def test_degenerate_losses_give_probabilities(losses):
    told = fit_losses(torch.tensor(losses))
    wrong = told.wrong_probability(torch.tensor(losses).double())
    assert ((wrong >= 1e-4) & (wrong <= 1 - 1e-4)).all()


def test_a_single_loss_is_an_error():
    with pytest.raises(ValueError, match='at least two samples'):
        fit_losses(torch.ones(1))
