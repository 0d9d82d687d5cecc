"""Where the picture of embeddings puts its points, and in which colours."""

from __future__ import annotations

import numpy as np
import pytest

from mmdet_ols.visualization import draw_embeddings


def test_colours_are_classes_and_come_again_after_ten():
    points = np.arange(8.0).reshape(4, 2)
    few, many = np.array([0, 1, 1, 0]), np.array([0, 11, 1, 99])
    figure = draw_embeddings([points, -points], [few, few], ['a', 'b'], ['cat', 'dog'])
    assert [axes.get_title() for axes in figure.axes] == ['a', 'b']
    shown = figure.axes[1].collections[0]
    np.testing.assert_array_equal(shown.get_offsets(), -points)
    colors = shown.get_facecolors()
    np.testing.assert_array_equal(colors[0], colors[3])
    assert (colors[0] != colors[1]).any()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ['cat', 'dog']
    colors = draw_embeddings([points], [many], ['a']).axes[0].collections[0].get_facecolors()
    np.testing.assert_array_equal(colors[1], colors[2])
    assert not draw_embeddings([points], [np.arange(4) * 30], ['a']).legends


@pytest.mark.parametrize('panels', [1, 3])
@pytest.mark.parametrize('name', ['automobile', 40 * 'W'])
def test_the_legend_is_whole_and_leaves_the_panels_their_size(panels, name):
    points, labels = np.random.default_rng(0).random((10, 2)), np.arange(10)
    names = [f'{name} {number}' for number in range(10)]
    figure = draw_embeddings([points] * panels, [labels] * panels, ['a'] * panels, names)
    figure.canvas.draw()
    (legend,) = figure.legends
    place = legend.get_window_extent()
    assert place.x0 >= 0 and place.x1 <= figure.bbox.x1 and place.y0 >= 0
    for panel in figure.axes:
        extent = panel.get_window_extent()
        assert extent.y0 > place.y1 and extent.width / figure.dpi > 4.5
        assert panel.title.get_window_extent().y1 < figure.bbox.y1


def test_classes_without_names_are_numbers():
    figure = draw_embeddings([np.zeros((2, 2))], [np.array([3, 0])], ['a'], ['cat'])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ['cat', '3']
