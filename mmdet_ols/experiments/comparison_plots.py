"""The pictures of a comparison: every run, the curves over time, and a sweep over one option."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmdet_ols.visualization import drawn_texts
from mmdet_ols.visualization.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mmdet_ols.experiments.comparison import Comparison
    from mmdet_ols.results.metrics import Metric
    from mmdet_ols.results.statistics import Summary

#: The axis of a sweep is logarithmic if its largest value is at least this many times its smallest.
LOG_RATIO = 30
#: The middle of a row's name tells what it is, so that more of it is kept than of other texts.
MAX_NAME_LENGTH = 60


def draw_comparison(comparison: Comparison, path: str | Path) -> None:
    """Draw every run, the means with their intervals, and the first metric over the epochs."""
    if not comparison.metrics:
        return
    metric = comparison.metrics[0]
    figure = new_figure(11, 4.5)
    left, right = figure.subplots(1, 2)
    with _drawn_names(comparison) as drawn:
        _draw_runs(left, comparison, metric, list(drawn.values()))
        for name, color in _colors(comparison.names).items():
            draw_curve(right, comparison.curve(name, metric), color, label=drawn[name])
        _label_epochs(right)
        right.set_ylabel(metric.label)
        right.set_title('validation: mean ± standard deviation', fontsize=10)
        right.legend(frameon=False, fontsize=10 if len(comparison.names) < 8 else 8)
        figure.savefig(path)


def _draw_runs(axes: Axes, comparison: Comparison, metric: Metric, drawn: list[str]) -> None:
    """Draw the last epoch: every seed, each row's mean with its interval, the paper's figures.

    Args:
        axes: Where to draw.
        comparison: The runs.
        metric: What is drawn.
        drawn: The names of the rows as the axis shows them.
    """
    names = comparison.names
    by_name = [comparison.values(name, metric) for name in names]
    for seed in comparison.seeds:  # lines join the pairs that the intervals are of
        points = [(x, values[seed]) for x, values in enumerate(by_name) if seed in values]
        axes.plot(*zip(*points), color='0.8', linewidth=1, zorder=1)
    title = 'last epoch: each seed, mean and its 95 % interval'
    for x, (name, color) in enumerate(_colors(names).items()):
        values, own = by_name[x], comparison.summary(name, metric)
        axes.scatter([x] * len(values), list(values.values()), s=28, color=color, alpha=0.6)
        if own.n:
            half = own.high - own.mean if own.n > 1 else 0
            style: Any = dict(fmt='D', color=color, capsize=4, markersize=6)
            axes.errorbar(x + 0.15, own.mean, yerr=half, **style)
        paper = comparison.paper_figure(name, metric)
        if paper:
            style = dict(color=color, markersize=13, markeredgecolor='black')
            axes.plot(x - 0.15, paper['value'], '*', **style)
    if any(comparison.paper_figure(name, metric) for name in names):
        title += '; star: the paper'
    crowded = sum(map(len, drawn)) > 45
    rotated: Any = dict(rotation=30, ha='right') if crowded else dict(rotation=0, ha='center')
    axes.set_xticks(range(len(names)), drawn, rotation_mode='anchor', **rotated)
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_ylabel(metric.label)
    axes.set_title(title, fontsize=10)


def draw_curves(comparison: Comparison, path: str | Path) -> None:
    """Draw all that was measured at several epochs: a panel for each metric, a colour for each row.

    Lines are means over the seeds, bands standard deviations.
    """
    metrics = comparison.metrics_over_time
    columns = min(len(metrics), 3)
    rows = -(-len(metrics) // columns)
    figure = new_figure(max(4.4 * columns, 6), 3.5 * rows + 0.6)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    with _drawn_names(comparison) as drawn:
        for panel, metric in zip(panels, metrics):
            for name, color in _colors(comparison.names).items():
                draw_curve(panel, comparison.curve(name, metric), color, label=drawn[name])
            _label_epochs(panel)
            panel.set_title(comparison.title_over_time(metric), fontsize=10)
            panel.grid(color='0.92')
        for panel in panels[len(metrics) :]:
            panel.remove()
        handles, labels = panels[0].get_legend_handles_labels()
        legend: Any = dict(ncols=min(len(labels), 5), frameon=False)
        figure.legend(handles, labels, loc='outside lower center', **legend)
        figure.savefig(path)


def draw_sweep(comparison: Comparison, path: str | Path) -> None:
    """Draw the first metric over the values of the swept option; the other rows are lines."""
    sweep = comparison.sweep
    if sweep is None or not comparison.metrics:
        return
    metric = comparison.metrics[0]
    places, log = places_of(list(sweep.values.values()))
    figure = new_figure(max(6.4, 0.75 * len(places) + 1), 4.4)
    axes = figure.add_subplot()
    points = []
    for x, name in sorted(zip(places, sweep.values)):
        values = list(comparison.values(name, metric).values())
        axes.scatter([x] * len(values), values, s=18, color='C0', alpha=0.35, linewidths=0)
        if values:
            points.append((x, *comparison.summary(name, metric)[:2]))
    if points:
        at, means, sds = zip(*points)
        style: Any = dict(fmt='o-', color='C0', capsize=4, label=sweep.name)
        axes.errorbar(at, means, yerr=np.nan_to_num(sds), **style)
    others = [name for name in comparison.names if name not in sweep.values]
    with _drawn_names(comparison) as drawn:
        for number, name in enumerate(others, 1):
            _draw_level(axes, comparison.summary(name, metric), f'C{number}', drawn[name])
        if log:
            axes.set_xscale('log')
            axes.minorticks_off()
        axes.set_xticks(places, list(sweep.values.values()))
        axes.set_xlabel(sweep.key)
        axes.set_ylabel(metric.label)
        axes.set_title('last epoch: mean ± standard deviation, and each seed', fontsize=10)
        axes.legend(frameon=False)
        figure.savefig(path)


def places_of(values: list[str]) -> tuple[list[float], bool]:
    """Say where values stand on the axis, and whether it is logarithmic; words are side by side."""
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        return [float(index) for index in range(len(values))], False
    return numbers, min(numbers) > 0 and max(numbers) >= LOG_RATIO * min(numbers)


def _draw_level(axes: Axes, summary: Summary, color: str, label: str) -> None:
    """Draw a row that has no value of the swept option, as a line with its deviation."""
    if summary.n:
        sd = np.nan_to_num(summary.sd)
        axes.axhline(summary.mean, color=color, linestyle='--', label=label)
        axes.axhspan(summary.mean - sd, summary.mean + sd, color=color, alpha=0.12, linewidth=0)


def draw_curve(
    axes: Axes, curve: Mapping[int, Summary] | Mapping[float, Summary], color: Any, **style: Any
) -> None:
    """Draw the means as a line with the standard deviations as a band.

    Args:
        axes: Where to draw.
        curve: By the place on the horizontal axis.
        color: Of both.
        **style: Of the line, as `Axes.plot` takes it.
    """
    at, means = list(curve), [point.mean for point in curve.values()]
    sds = np.nan_to_num([point.sd for point in curve.values()])
    axes.plot(at, means, color=color, marker='.' if len(at) < 50 else '', **style)
    if sds.any():
        low, high = np.subtract(means, sds), np.add(means, sds)
        axes.fill_between(at, low, high, color=color, alpha=0.15, linewidth=0)


def _label_epochs(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_xlabel('epoch')


@contextmanager
def _drawn_names(comparison: Comparison) -> Iterator[dict[str, str]]:
    """The names of the rows as pictures show them; draw and save inside of this context."""
    with drawn_texts(comparison.names, MAX_NAME_LENGTH) as texts:
        yield dict(zip(comparison.names, texts))


def _colors(names: list[str]) -> dict[str, Any]:
    """Give each row a colour, from a scale where there are too many to tell apart otherwise."""
    from matplotlib import colormaps

    scale = np.linspace(0.05, 0.95, len(names))
    colors = colormaps['tab10'](range(10)) if len(names) <= 10 else colormaps['turbo'](scale)
    return dict(zip(names, colors))
