"""Reading the soft labels of a finished run."""

import numpy as np
import pytest
import torch
from torch import nn

from mmdet_ols import OLSLoss
from mmdet_ols.analysis import (
    ConfusedPair,
    confused_pairs,
    draw_soft_labels,
    group_contrast,
    save_target,
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


def test_table_lines_up():
    text = table_of_pairs([ConfusedPair('cat', 'dog', 0.123), ConfusedPair('plum', 'fox', 0.01)])
    assert text.splitlines() == [
        '  12.30%  of cat  is taken for dog',
        '   1.00%  of plum is taken for fox',
    ]


def test_every_soft_label_matrix_of_a_checkpoint_is_found():
    model = nn.ModuleDict(dict(a=OLSLoss(2), b=nn.ModuleDict(dict(c=OLSLoss(3)))))
    found = soft_labels_in_checkpoint(dict(state_dict=model.state_dict()))
    assert {name: tuple(matrix.shape) for name, matrix in found.items()} == {
        'a': (2, 2),
        'b.c': (3, 3),
    }
    with pytest.raises(ValueError, match='holds no soft labels'):
        soft_labels_in_checkpoint(nn.Linear(1, 1).state_dict())


def test_the_picture_is_darker_where_the_soft_label_is_larger():
    """The heat map's own colours, found again at the middle of the cells."""
    size = 30  # more than get their values written in
    matrix = torch.full((size, size), 1e-3)
    matrix[4, 20], matrix[9, 2] = 0.3, 0.15
    matrix.fill_diagonal_(0.5)
    image = draw_soft_labels(matrix, [f'class {index}' for index in range(size)], 'title')
    assert image.dtype == np.uint8 and image.shape[2] == 3
    # Locate the grid by its grey diagonal.
    grey = (image == round(0.82 * 255)).all(2)
    rows, columns = (np.flatnonzero(grey.sum(axis) > 20) for axis in (1, 0))  # not the letters
    top, left = rows[0], columns[0]
    cell = (rows[-1] - top + 1) / size

    def brightness(row, column):
        return int(image[int(top + (row + 0.5) * cell), int(left + (column + 0.5) * cell)].sum())

    assert brightness(4, 20) < brightness(9, 2) < brightness(12, 3)


def bars(monkeypatch, *arguments, **kwargs):
    """{title: {class: width}} of what `save_target` draws."""
    figures = []
    monkeypatch.setattr('matplotlib.figure.Figure.savefig', lambda self, _: figures.append(self))
    save_target('unused.png', *arguments, **kwargs)
    names = [label.get_text() for label in figures[0].axes[0].get_yticklabels()]
    return {
        axes.get_title(): dict(zip(names, (bar.get_width() for bar in axes.patches)))
        for axes in figures[0].axes
    }


def test_what_a_class_is_taught_by_three_methods(monkeypatch):
    found = bars(monkeypatch, MATRIX, 'c', ['a', 'b', 'c'], epsilon=0.3)
    assert found['hard label'] == dict(a=0, b=0, c=1)
    assert found['label smoothing (0.3)'] == pytest.approx(dict(a=0.1, b=0.1, c=0.8))
    assert found['soft label of OLS'] == pytest.approx(dict(a=0, b=0.4, c=0.6))
    assert bars(monkeypatch, MATRIX, '2')['hard label'] == {'0': 0, '1': 0, '2': 1}
    # Of many classes the largest, itself first even where another is larger.
    shares = torch.tensor([[0.1, 0.2, 0.3, 0.4]]).expand(4, 4)
    assert list(bars(monkeypatch, shares, '0', top=3)['hard label']) == ['0', '3', '2']
    with pytest.raises(ValueError, match=r"one of \['a', 'b', 'c'\] or its number, but got 'd'"):
        save_target('unused.png', MATRIX, 'd', ['a', 'b', 'c'])
