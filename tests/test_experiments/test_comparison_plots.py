"""What the pictures of a comparison show."""

from __future__ import annotations

import numpy as np
import pytest
from toy_comparison import classifiers

from mmdet_ols.experiments.comparison import Comparison, Sweep
from mmdet_ols.experiments.comparison_plots import (
    draw_comparison,
    draw_curves,
    draw_sweep,
    places_of,
)


@pytest.mark.parametrize(
    ('values', 'places', 'log'),
    [
        (['12', '384', '3072'], [12, 384, 3072], True),
        (['0.1', '0.5', '1.0'], [0.1, 0.5, 1], False),
        (['0', '3072'], [0, 3072], False),
        (['mean', '0.5'], [0, 1], False),
    ],
)
def test_values_stand_where_they_are_and_words_side_by_side(values, places, log):
    assert places_of(values) == (places, log)


def drawn(monkeypatch, draw, comparison, tmp_path):
    """The axes of a picture."""
    figures = []
    monkeypatch.setattr('matplotlib.figure.Figure.savefig', lambda self, _: figures.append(self))
    draw(comparison, tmp_path / 'unused.png')
    return figures[0].axes


def test_the_pictures_hold_means_and_deviations(monkeypatch, tmp_path):
    runs = classifiers()
    runs.update({(f'alpha={a}', s): runs['ce', s] for a in (0.9, 0.1) for s in (0, 1)})
    names = {f'alpha={value}': value for value in ('0.9', '0.1')}
    ours = Comparison(runs, sweep=Sweep('ols', 'alpha', names), best_is_of_test=True)
    (axes,) = drawn(monkeypatch, draw_sweep, ours, tmp_path)
    baseline, line = axes.get_lines()[-1], axes.containers[0]
    assert list(baseline.get_ydata()) == [25.0, 25.0] and baseline.get_label() == 'ce'
    assert line[0].get_xydata().tolist() == [[0.1, 25.0], [0.9, 25.0]]
    low, high = line[2][0].get_segments()[0][:, 1]
    np.testing.assert_allclose((low, high), (25 - 2**0.5, 25 + 2**0.5))
    assert axes.get_xlabel() == 'alpha' and axes.get_xscale() == 'linear'

    for run in classifiers(), runs:
        axes = drawn(monkeypatch, draw_curves, Comparison(run, best_is_of_test=True), tmp_path)
        assert [a.get_title() for a in axes] == ['test top-1 error (%)', 'test top-5 error (%)']
        points = axes[0].get_lines()[0].get_xydata()
        np.testing.assert_allclose(points, [[1, 26], [2, 21.5], [3, 25]])
        band = axes[0].collections[0].get_paths()[0].vertices[:, 1]
        np.testing.assert_allclose((band.min(), band.max()), (21.5 - 4.5**0.5, 26 + 32**0.5))


def test_names_are_drawn_as_they_are_written(monkeypatch, tmp_path):
    runs = {(f'cost $1 or ${name}', seed): run for (name, seed), run in classifiers().items()}
    ours = Comparison(runs, best_is_of_test=True)
    for draw in draw_comparison, draw_curves:
        draw(ours, tmp_path / 'drawn.png')  # a single dollar sign would be read as mathematics
        axes = drawn(monkeypatch, draw, ours, tmp_path)
        labels = {line.get_label() for one in axes for line in one.get_lines()}
        assert r'cost \$1 or \$ce' in labels
        monkeypatch.undo()
