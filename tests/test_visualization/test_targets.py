"""What one class is taught by three methods."""

from __future__ import annotations

import pytest
import torch

from mmdet_ols.visualization import save_target

MATRIX = torch.tensor([[0.7, 0.2, 0.1], [0.05, 0.9, 0.05], [0.0, 0.4, 0.6]])


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
    actual = bars(monkeypatch, MATRIX, 'c', ['a', 'b', 'c'], epsilon=0.3)
    assert actual['hard label'] == dict(a=0, b=0, c=1)
    assert actual['label smoothing (0.3)'] == pytest.approx(dict(a=0.1, b=0.1, c=0.8))
    assert actual['soft label of OLS'] == pytest.approx(dict(a=0, b=0.4, c=0.6))
    assert bars(monkeypatch, MATRIX, '2')['hard label'] == {'0': 0, '1': 0, '2': 1}
    # Of many classes the largest, itself first even where another is larger.
    shares = torch.tensor([[0.1, 0.2, 0.3, 0.4]]).expand(4, 4)
    assert list(bars(monkeypatch, shares, '0', top=3)['hard label']) == ['0', '3', '2']
    with pytest.raises(ValueError, match=r"one of \['a', 'b', 'c'\] or its number, but got 'd'"):
        save_target('unused.png', MATRIX, 'd', ['a', 'b', 'c'])
    with pytest.raises(ValueError, match=r"'19'\] and 5 more or its number, but got 'd'"):
        save_target('unused.png', torch.eye(25), 'd')


def test_the_ticks_of_a_single_class_do_not_overlap(monkeypatch):
    figures = []
    monkeypatch.setattr('matplotlib.figure.Figure.savefig', lambda self, _: figures.append(self))
    save_target('unused.png', torch.eye(1), '0')
    axes = figures[0].axes[0]
    axes.figure.canvas.draw()
    shown = [text for text in axes.get_xticklabels(which='both') if text.get_text()]
    extents = sorted((text.get_window_extent() for text in shown), key=lambda extent: extent.x0)
    assert all(left.x1 < right.x0 for left, right in zip(extents, extents[1:]))
