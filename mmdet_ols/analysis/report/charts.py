"""Line charts as inline SVG that follows the page's colours."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from mmdet_ols.analysis.report.record import Curves

if TYPE_CHECKING:
    from markupsafe import Markup

#: Above this number, the lines of a chart are grey, except for the best and the worst ones.
MAX_COLOURS = 8
#: Placeholders in the SVG for the page's variables `--muted` and `--line`.
INK, FAINT = '#fe0100', '#fe0200'

#: {name: [(x, y), ...]}
Series = Mapping[str, Sequence[tuple[float, float]]]


def training_charts(curves: Curves, period: str) -> list[dict[str, Any]]:
    """Charts of losses, learning rate, and what the online soft labels report.

    Args:
        curves: What the run logged.
        period: The unit that OLSHook counts.
    """
    losses = series(curves.training, 'iter', lambda key: key if 'loss' in key else None)
    # Where parameters learn at rates of their own, `lr` is that of the first ones.
    rate = 'base_lr' if any('base_lr' in line for line in curves.training) else 'lr'
    rates = series(curves.training, 'iter', lambda key: key if key == rate else None)
    charts = [
        chart('Losses', 'iteration', losses, log=True),
        chart('Learning rate', 'iteration', rates),
    ]
    for ending, title in (
        ('correct_share', 'Share of correctly classified samples'),
        ('confidence', 'Share of a soft label on its own class'),
    ):
        shares = series(curves.epochs, 'step', _loss_that_logs(ending))
        charts.append(chart(title, period, shares, unit_interval=True))
    return [drawn for drawn in charts if drawn]


def _loss_that_logs(ending: str) -> Callable[[str], str | None]:
    """A function that takes `ols/LOSS/<ending>` to LOSS, and all other keys to None."""

    def name(key: str) -> str | None:
        match = re.match(rf'ols/(.+)/{ending}', key)
        return match[1] if match else None

    return name


def series(
    lines: Sequence[dict[str, Any]], x: str, name: Callable[[str], str | None]
) -> dict[str, list[tuple[float, float]]]:
    """Collect {name: [(x, y), ...]} from the logged values whose key `name` gives a name to.

    Values that are not finite stay in; `finite` leaves them out.
    """
    points: dict[str, list[tuple[float, float]]] = {}
    for line in lines:
        for key, value in line.items():
            label = name(key)
            if label and isinstance(value, (int, float)):
                points.setdefault(label, []).append((line[x], value))
    return points


def finite(series: Series) -> dict[str, list[tuple[float, float]]]:
    """The points whose y is finite, without the lines that have none."""
    kept = {name: [p for p in points if np.isfinite(p[1])] for name, points in series.items()}
    return {name: points for name, points in kept.items() if points}


def chart(
    title: str, x_label: str, series: Series, log: bool = False, unit_interval: bool = False
) -> dict[str, Any] | None:
    """A line chart and its legend, for the page; None if there is nothing to draw.

    Args:
        title: Title of the chart.
        x_label: Label of the horizontal axis.
        series: The lines. Only finite values are drawn; the legend has the last value in any case.
        log: Whether the vertical axis is logarithmic, if all values are positive.
        unit_interval: Whether the vertical axis shows [0, 1].
    """
    drawn = finite(series)
    if not drawn:
        return None
    last = sorted(drawn, key=lambda name: drawn[name][-1][1])
    half = MAX_COLOURS // 2
    coloured = list(drawn) if len(drawn) <= MAX_COLOURS else last[-half:][::-1] + last[:half]
    log = log and all(y > 0 for points in drawn.values() for _, y in points)
    scale = 'log' if log else 'unit' if unit_interval else 'linear'
    svg = _draw(title, x_label, drawn, coloured, scale)
    legend = [
        (name, format_number(series[name][-1][1]), number) for number, name in enumerate(coloured)
    ]
    return dict(title=title, svg=svg, legend=legend, more=len(drawn) - len(coloured))


def _draw(title: str, x_label: str, series: Series, coloured: list[str], scale: str) -> Markup:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with page_style(title):
        figure = Figure(figsize=(5, 2.9), layout='constrained')
        axes = figure.add_subplot()
        for name, points in series.items():
            highlighted = name in coloured
            axes.plot(
                *zip(*points),
                color=series_colour(coloured.index(name)) if highlighted else FAINT,
                linewidth=1.8 if highlighted else 1,
                marker='o' if len(points) < 15 else None,
                markersize=3.5,
                zorder=3 if highlighted else 2,
            )
        if scale == 'log':
            axes.set_yscale('log')
        elif scale == 'unit':
            axes.set_ylim(0, 1)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        axes.set_xlabel(x_label, color=INK)
        style_axes(axes)
        return as_element(figure)


@contextmanager
def page_style(name: str) -> Iterator[None]:
    """Draw and save a figure of a page inside of this context.

    Args:
        name: One of its own for each figure of a page: the names of its parts are made of it.
    """
    from matplotlib import rc_context

    style: Any = {'svg.fonttype': 'none', 'svg.hashsalt': name, 'text.color': INK, 'font.size': 11}
    with rc_context(style):
        yield


def series_colour(number: int) -> str:
    """What matplotlib is told for the colour that the page's style sheet has for a line."""
    return f'#fe00{number:02d}'


def style_axes(axes: Any) -> None:
    """Give axes the page's colours, and leave out what says nothing."""
    axes.tick_params(colors=INK, which='both')
    axes.grid(color=FAINT, linewidth=0.5)
    axes.spines[['top', 'right']].set_visible(False)
    axes.spines[['left', 'bottom']].set_color(FAINT)


def as_element(figure: Any) -> Markup:
    """A figure as an element of the page, whose colours are variables of the page."""
    from markupsafe import Markup

    buffer = io.StringIO()
    figure.savefig(buffer, format='svg', transparent=True, metadata={'Date': None})
    svg = buffer.getvalue()
    svg = svg[svg.index('<svg') :]
    svg = re.sub(r'<metadata>.*?</metadata>|<!--.*?-->', '', svg, flags=re.S)
    svg = re.sub(r'<svg [^>]*(viewBox="[^"]*")[^>]*>', r'<svg \1 aria-hidden="true">', svg, count=1)
    # Every figure has a `text_1`; only what the figure itself refers to has a name of its own.
    named = set(re.findall(r'#(\w+)[")]', svg))
    svg = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in named else '', svg)
    svg = svg.replace(INK, 'var(--muted)').replace(FAINT, 'var(--line)')
    svg = re.sub(r'#fe00(\d\d)', lambda match: f'var(--series-{int(match[1])})', svg)
    return Markup(svg)  # noqa: S704  (matplotlib escapes what it writes)


def format_number(value: float) -> str:
    """A number with three or four digits."""
    return f'{value:.3f}' if 0.01 <= abs(value) <= 1 else f'{value:.4g}'
