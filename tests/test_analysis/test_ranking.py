"""How much annotations disagree with what the network sees, against hand-computed cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mmdet_ols.analysis.ranking import SMOOTHING, mean_predictions, rank_boxes, rank_images


def test_disagreement_by_hand():
    profiles = np.array([[0.8, 0.2, 0.0], [0.3, 0.7, 0.0], [0.0, 0.0, 1.0]])
    scores = np.array([[0.1, 0.6, 0.0], [0.9, 0.1, 0.0], [0.0, 0.0, 0.0], [0.0, 0.5, 0.0]])
    suspects, nearest, missed = rank_boxes(scores, np.array([0, 0, 1, 2]), profiles)
    assert missed == [2]

    def log(row, column):
        return math.log((1 - SMOOTHING) * profiles[row][column] + SMOOTHING / 3)

    two_as_one = 0.5 * (log(1, 1) - log(2, 1))
    zero_as_one = 0.1 * (log(1, 0) - log(0, 0)) + 0.6 * (log(1, 1) - log(0, 1))
    assert [item[:2] for item in suspects] == [(3, 1), (0, 1)]
    assert_allclose([item.disagreement for item in suspects], [two_as_one, zero_as_one])
    rather_zero = 0.9 * (log(1, 0) - log(0, 0)) + 0.1 * (log(1, 1) - log(0, 1))
    assert rather_zero < 0 and [item[:2] for item in nearest] == [(1, 1)]
    assert nearest[0].disagreement == pytest.approx(rather_zero)


def test_only_what_was_seen_beside_the_written_class_is_near_to_another():
    scores = np.array([[0.9, 0.0, 0.2], [0.9, 0.0, 0.0], [0.9, 0.0, 0.4], [0.5, 0.5, 0.0]])
    suspects, nearest, missed = rank_boxes(scores, np.zeros(4, dtype=int), np.eye(3))
    assert suspects == [] and missed == []
    assert [item[:2] for item in nearest] == [(3, 1), (2, 2), (0, 2)]


def test_images_rank_by_the_mean_of_two_places():
    rng = np.random.default_rng(0)
    scores, labels = rng.dirichlet([0.5] * 4, 30), rng.integers(4, size=30)
    profiles = rng.random((4, 4)) + np.eye(4)
    boxes = rank_boxes(scores, labels, profiles)
    disagreement = {item.row: item.disagreement for item in (*boxes.suspects, *boxes.nearest)}

    def place(value, values):
        return sum(other < value for other in values) / 29

    own = [-scores[row][label] for row, label in enumerate(labels)]
    expected = {
        row: (place(own[row], own) + place(disagreement[row], disagreement.values())) / 2
        for row in range(30)
    }
    ours = rank_images(7 * scores, labels, profiles)  # rows need not sum to 1
    for mine, theirs in ((ours.suspects, boxes.suspects), (ours.nearest, boxes.nearest)):
        assert {item[:2] for item in mine} == {item[:2] for item in theirs}
        order = [item.disagreement for item in mine]
        assert order == sorted(order, reverse=True) and len(order) > 5
        assert_allclose(order, [expected[item.row] for item in mine])
    assert [item.row for item in ours.suspects] != [item.row for item in boxes.suspects]
    assert rank_images(scores[:1], labels[:1], profiles).missed == []


def test_usual_confusions_and_weak_detections_rank_behind():
    # Classes 0 and 1 look alike, 2 and 3 never.
    profiles = np.array(
        [[0.6, 0.4, 0, 0], [0.4, 0.6, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=float
    )
    scores = np.array([[0.2, 0.8, 0, 0], [0, 0, 0.1, 0.4], [0, 0, 0.2, 0.8]], dtype=float)
    suspects, *_ = rank_boxes(scores, np.array([0, 2, 2]), profiles)
    assert [item.row for item in suspects] == [2, 1, 0]


def test_rows_of_profiles_need_not_sum_to_one():
    rng = np.random.default_rng(0)
    scores, labels = rng.random((20, 3)), rng.integers(3, size=20)
    profiles = rng.random((3, 3)) + np.eye(3)
    expected, *_ = rank_boxes(scores, labels, profiles / profiles.sum(1, keepdims=True))
    actual, *_ = rank_boxes(scores, labels, profiles)
    assert [item[:2] for item in actual] == [item[:2] for item in expected]
    assert_allclose([item[2] for item in actual], [item[2] for item in expected])


def test_mean_predictions_by_hand():
    scores = np.array([[0.6, 0.2, 0], [0.2, 0.2, 0], [0.1, 0.9, 0], [0, 0, 0], [0, 0, 0]])
    labels = np.array([0, 0, 0, 2, 0])
    # The first two are right (the second by its place), the third is wrong, the last were missed.
    expected = [[(0.75 + 0.5) / 2, (0.25 + 0.5) / 2, 0], [0, 1, 0], [0, 0, 1]]
    assert_allclose(mean_predictions(scores, labels), expected)


def test_what_a_neighbour_explains_counts_half():
    scores = np.array([[0.3, 0.7, 0.0], [0.3, 0.7, 0.0], [0.7, 0.0, 0.3]], dtype=np.float32)
    labels = np.array([0, 0, 0])
    explained = np.array([[False, True, False], [False] * 3, [True, False, False]])
    ours = rank_boxes(scores, labels, np.eye(3), explained)
    halved = scores.copy()
    halved[0, 1] /= 2  # the annotated class of the third counts in full
    assert ours == rank_boxes(halved, labels, np.eye(3))
    assert [suspect.row for suspect in ours.suspects] == [1, 0]
