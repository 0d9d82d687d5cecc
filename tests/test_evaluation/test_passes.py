"""Passes over a data set that leave the run as it was."""

from __future__ import annotations

import random

import mmengine.dataset
import mmengine.dist
import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement
from torch import nn
from torch.testing import assert_close

from mmdet_ols.evaluation.passes import evaluation_mode, ground_truth_labels, indexed_batches


def test_modes_and_random_numbers_are_restored():
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.BatchNorm1d(2), nn.ReLU()))
    model[1][0].eval()  # a frozen stage of a network in training
    before = [module.training for module in model.modules()]
    assert before == [True, True, True, False, True]

    def draws():
        return [random.random(), np.random.random(), torch.rand(()).item()]

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    expected = draws()
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
    with pytest.raises(KeyError), evaluation_mode(model) as bare:
        assert bare is model and not any(module.training for module in model.modules())
        draws()
        raise KeyError
    assert [module.training for module in model.modules()] == before
    assert draws() == expected


@pytest.mark.parametrize(('rank', 'expected'), [(0, [[0, 3], [6]]), (1, [[1, 4], [7]])])
def test_indices_are_those_that_the_sampler_deals_out(monkeypatch, rank, expected):
    """Seven samples for three processes: each gets three, so two come twice."""
    monkeypatch.setattr(mmengine.dist, 'get_dist_info', lambda: (rank, 3))
    monkeypatch.setattr(mmengine.dataset.sampler, 'get_dist_info', lambda: (rank, 3))
    data = [f'sample {index}' for index in range(7)]
    dealt = list(mmengine.dataset.DefaultSampler(data, shuffle=False))
    batches = [dict(inputs=dealt[:2]), dict(inputs=dealt[2:])]
    pairs = list(indexed_batches(batches, 'Looking'))
    assert [batch for batch, _ in pairs] == batches
    assert [index.tolist() for _, index in pairs] == expected
    for batch, index in pairs:
        for sample, number in zip(batch['inputs'], index.tolist()):
            assert number >= len(data) or data[number] == data[sample]


def test_every_sample_has_exactly_one_label():
    samples = [BaseDataElement(gt_label=torch.tensor([label])) for label in (3, 1)]
    assert_close(ground_truth_labels(samples), torch.tensor([3, 1]))
    for bad in (BaseDataElement(gt_label=torch.tensor([0, 1])), BaseDataElement()):
        with pytest.raises(ValueError, match='exactly one label'):
            ground_truth_labels([*samples, bad])
