"""Heat maps of soft labels."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from mmdet_ols.visualization import (
    column_names,
    draw_soft_labels,
    matching_names,
    save_soft_labels,
    soft_labels,
)
from mmdet_ols.visualization.figures import new_figure


def test_names_of_columns():
    assert column_names(2, None) == ['0', '1']
    assert column_names(2, ('a', 'b')) == ['a', 'b']
    assert column_names(3, ('a', 'b')) == ['a', 'b', 'background']
    with pytest.raises(ValueError, match='must name the 4 classes.*got 2 names'):
        column_names(4, ['a', 'b'])


def test_names_of_another_head_match_nothing():
    matrix = torch.eye(3)
    assert matching_names(matrix, ('a', 'b', 'c')) == ['a', 'b', 'c']
    assert matching_names(matrix, ('a', 'b')) == ['a', 'b']
    for names in (None, (), ('a',), tuple('abcd')):
        assert matching_names(matrix, names) is None


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


@pytest.mark.parametrize('size', [1, 3])
def test_a_matrix_of_hard_labels_has_a_scale_of_shares(monkeypatch, size):
    figure = new_figure(4, 3)
    monkeypatch.setattr(soft_labels, 'new_figure', lambda *_: figure)
    draw_soft_labels(torch.eye(size))
    assert figure.axes[0].images[0].get_clim() == (0, 1)


def test_losses_that_differ_in_their_middle_have_titles_that_do():
    first, second = (
        draw_soft_labels(torch.eye(2), title=f'roi_head.bbox_head.{stage}.loss_cls, 12')
        for stage in (0, 1)
    )
    assert (first != second).any()


def test_the_file_holds_the_picture(tmp_path):
    from PIL import Image

    matrix = torch.tensor([[0.7, 0.3], [0.1, 0.9]])
    save_soft_labels(tmp_path / 'map.png', matrix, ['a', 'b'], 'title')
    with Image.open(tmp_path / 'map.png') as image:
        pixels = np.asarray(image.convert('RGB'))
    np.testing.assert_array_equal(pixels, draw_soft_labels(matrix, ['a', 'b'], 'title'))


def test_a_missing_matplotlib_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'matplotlib.figure', None)
    with pytest.raises(ImportError, match=r"pip install 'mmdet_ols\[plot\]'"):
        draw_soft_labels(torch.eye(2))
