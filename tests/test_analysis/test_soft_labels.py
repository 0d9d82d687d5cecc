"""Reading the soft labels of a run, and what they say about the classes."""

import numpy as np
import pytest
import torch
from torch import nn

from mmdet_ols import OLSLoss
from mmdet_ols.analysis import (
    ConfusedPair,
    confused_pairs,
    group_contrast,
    soft_labels_in_checkpoint,
    table_of_pairs,
)

MATRIX = torch.tensor([[0.7, 0.2, 0.1], [0.05, 0.9, 0.05], [0.0, 0.4, 0.6]])


def test_pairs_are_the_largest_entries_off_the_diagonal():
    pairs = confused_pairs(MATRIX, ['a', 'b', 'c'], top=3)
    assert [pair[:2] for pair in pairs] == [('c', 'b'), ('a', 'b'), ('a', 'c')]
    np.testing.assert_allclose([pair.share for pair in pairs], [0.4, 0.2, 0.1], rtol=1e-6)
    assert len(confused_pairs(MATRIX, top=99)) == 6


def test_the_background_is_no_class_to_confuse():
    pairs = confused_pairs(MATRIX, ['a', 'b'], top=99)  # the third column is the background
    assert [pair[:2] for pair in pairs] == [('a', 'b'), ('b', 'a')]


def test_a_class_that_nothing_is_known_about_is_not_confused():
    matrix = torch.cat([MATRIX[:2], torch.full((1, 3), 1 / 3)])
    pairs = confused_pairs(matrix, ['a', 'b', 'c'], top=3)
    assert [pair[:2] for pair in pairs] == [('a', 'b'), ('a', 'c'), ('b', 'a')]
    assert confused_pairs(torch.full((3, 3), 1 / 3)) == []


def test_names_must_fit():
    with pytest.raises(ValueError, match='must name the 3 classes.*got 5 names'):
        confused_pairs(MATRIX, list('abcde'))


def test_contrast_of_groups_by_hand():
    matrix = torch.tensor([
        [0.6, 0.3, 0.08, 0.02],
        [0.1, 0.7, 0.1, 0.1],
        [0.05, 0.05, 0.9, 0.0],
        [0.0, 0.0, 0.0, 1.0],  # the background
    ])  # fmt: skip
    inside, outside = group_contrast(matrix, ['a', 'b', 'c'], [['a', 'b']])
    assert inside == pytest.approx((0.3 + 0.1) / 2)
    assert outside == pytest.approx((0.08 + 0.1 + 0.05 + 0.05) / 4)
    with pytest.raises(ValueError, match=r"classes of \['a', 'b', 'c'\], but got \['d'\]"):
        group_contrast(matrix, ['a', 'b', 'c'], [['a', 'd']])


@pytest.mark.parametrize(
    ('groups', 'message'),
    [
        ([['a', 'b'], ['b', 'c']], r"each class once, but got \['b'\] several times"),
        ([['a'], ['b']], r"a group of several classes .* but got \[\['a'\], \['b'\]\]"),
        ([['a', 'b', 'c']], 'leave a class outside it'),
    ],
)
def test_groups_that_cannot_be_contrasted(groups, message):
    with pytest.raises(ValueError, match=message):
        group_contrast(MATRIX, ['a', 'b', 'c'], groups)


def test_table_lines_up():
    text = table_of_pairs([ConfusedPair('cat', 'dog', 0.123), ConfusedPair('plum', 'fox', 0.01)])
    assert text.splitlines() == [
        '  12.30%  of cat  is taken for dog',
        '   1.00%  of plum is taken for fox',
    ]


def test_every_soft_label_matrix_of_a_checkpoint_is_found():
    model = nn.ModuleDict(dict(a=OLSLoss(2), b=nn.ModuleDict(dict(c=OLSLoss(3)))))
    actual = soft_labels_in_checkpoint(dict(state_dict=model.state_dict()))
    assert {name: tuple(matrix.shape) for name, matrix in actual.items()} == {
        'a': (2, 2),
        'b.c': (3, 3),
    }
    with pytest.raises(ValueError, match='holds no soft labels'):
        soft_labels_in_checkpoint(nn.Linear(1, 1).state_dict())
