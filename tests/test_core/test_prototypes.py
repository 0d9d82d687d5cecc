"""Prototypes against loops over samples, and on planted clusters."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from mmdet_ols.core.prototypes import choose_prototypes, nearest_class, standing


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def standing_by_hand(rows, top_share):
    n = len(rows)
    similarity = [[cosine(a, b) for b in rows] for a in rows]
    ordered = sorted((s for line in similarity for s in line), reverse=True)
    threshold = ordered[max(1, round(top_share * n * n)) - 1]
    density = [
        sum((abs(s - threshold) > 1e-12) * math.copysign(1, s - threshold) for s in line)
        for line in similarity
    ]
    nearest = []
    for i in range(n):
        denser = [similarity[i][j] for j in range(n) if density[j] > density[i]]
        nearest.append(max(denser) if denser else min(similarity[i]))
    return density, nearest


@pytest.mark.parametrize('top_share', [0.4, 0.1])
def test_standing_is_that_of_a_loop(top_share):
    features = torch.randn(30, 4, dtype=torch.float64)
    density, nearest = standing_by_hand(features.tolist(), top_share)
    actual = standing(features, top_share)
    assert_close(actual.density, torch.tensor(density, dtype=torch.float64))
    assert_close(actual.similarity, torch.tensor(nearest, dtype=torch.float64))


@pytest.mark.parametrize('threshold', [0.95, 0.6, -1.0])
def test_choice_by_density_is_that_of_a_loop(threshold):
    features = torch.randn(30, 4, dtype=torch.float64)
    density, nearest = standing_by_hand(features.tolist(), 0.4)
    order = sorted(range(30), key=lambda i: (-density[i], i))
    expected = [i for i in order if nearest[i] < threshold][:5]
    rest = sorted((i for i in range(30) if i not in expected), key=lambda i: (nearest[i], i))
    expected += rest[: 5 - len(expected)]
    assert choose_prototypes(features, 5, threshold=threshold).tolist() == expected
    smallest = sorted(range(30), key=lambda i: (nearest[i], i))[:5]
    chosen = choose_prototypes(features, 5, selection='smallest_similarity')
    assert chosen.tolist() == smallest


def test_each_planted_cluster_gets_a_prototype():
    """Three directions, and a few samples that lie anywhere: those are less dense, and come last.

    Two of the densest samples of all may be equally dense, so that their cluster gets two.
    """
    planted = torch.eye(6)[:3].repeat_interleave(100, 0) + 0.05 * torch.randn(300, 6)
    features = torch.cat([planted, torch.randn(5, 6)])
    chosen = choose_prototypes(features, 4, top_share=0.15, threshold=0.9)
    assert {0, 1, 2} <= set((chosen // 100).tolist())


def test_the_nearest_class_is_that_of_the_mean_cosine():
    features = torch.randn(50, 4)
    prototypes = [torch.randn(3, 4), torch.randn(5, 4), torch.zeros(0, 4), torch.randn(1, 4)]
    expected = []
    for row in features.tolist():
        scores = [
            sum(cosine(row, own) for own in group.tolist()) / len(group) if len(group) else -9
            for group in prototypes
        ]
        expected.append(scores.index(max(scores)))
    assert nearest_class(features, prototypes).tolist() == expected
    assert set(expected) == {0, 1, 3}


def test_few_samples_are_all_prototypes():
    assert sorted(choose_prototypes(torch.randn(3, 4), 8).tolist()) == [0, 1, 2]
    assert choose_prototypes(torch.randn(1, 4), 8).tolist() == [0]
