"""The paper's figures, drawn from our runs."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmdet_ols.analysis.report.charts import (
    INK,
    as_element,
    page_style,
    series_colour,
    style_axes,
)
from mmdet_ols.experiments.comparison_plots import draw_curve
from mmdet_ols.experiments.states import failure_of
from mmdet_ols.reproduction.claims import final_values, judge
from mmdet_ols.reproduction.features import FIGURE, networks_of, picture_in
from mmdet_ols.reproduction.layout import method_title
from mmdet_ols.reproduction.results import CellResult
from mmdet_ols.reproduction.texts import difference, verdict_text
from mmdet_ols.results.metrics import metric_of
from mmdet_ols.results.statistics import Summary, paired_difference, summarise

TEST_ERROR, TRAIN_ERROR = 'accuracy/top1', 'train/top1_error'
WRONG_LABEL_ERROR = 'train/wrong_label_error'
#: The colour of each method, the same in every figure.
COLOURS = {'hard': 0, 'ols': 1, 'ls': 2}
#: Iterations of an epoch of CIFAR with batches of 128, at which the paper has its best value.
EPOCH = 391

Curve = Mapping[float, Summary]


class Line(NamedTuple):
    """One line of a chart.

    Attributes:
        name: In the legend.
        curve: What it shows.
        colour: Number of its colour on the page.
        dashed: Whether it is dashed.
    """

    name: str
    curve: Curve
    colour: int
    dashed: bool = False


class Drawing(NamedTuple):
    """A figure of the paper as our runs show it.

    Attributes:
        name: As the paper numbers it.
        title: What it shows.
        lead: How to read it, and what the paper says of it.
        verdicts: Whether that holds for our runs.
        charts: What is there, for the page's macro of charts.
        missing: What is not there.
        picture: A picture as a data URI; None where the figure is no picture, or is missing.
    """

    name: str
    title: str
    lead: str
    verdicts: Sequence[str] = ()
    charts: Sequence[Mapping[str, Any]] = ()
    missing: Sequence[str] = ()
    picture: str | None = None

    @property
    def anchor(self) -> str:
        return 'figure-' + self.name.rpartition(' ')[2]


def drawings(results: Sequence[CellResult], folder: Path) -> list[Drawing]:
    """Draw the paper's Figs. 3, 4, 5 and 7 from the runs that are there.

    Args:
        results: What was reached for each cell.
        folder: The work directory, which has the picture of Fig. 3.
    """
    drawn = _features(results, folder), _errors(results), _wrong_labels(results), *_sweeps(results)
    return [
        drawing
        if drawing.picture or _of(results, drawing.name)
        else drawing._replace(missing=['No run of this figure is planned.'])
        for drawing in drawn
    ]


def curve(result: CellResult, key: str) -> dict[float, Summary]:
    """A metric of a cell's runs, as it is shown, at each epoch that all of them have.

    Finished runs count; where there are none yet, those that are under way.

    Args:
        result: The cell.
        key: Under which the metric is logged.
    """
    followed = [run for run in result.runs.values() if not run.recorded and run.over_time(key)]
    # A run that has just begun would cut the curves of those that are finished.
    followed = [run for run in followed if run.final] or followed
    if not followed:
        return {}
    curves = [run.over_time(key) for run in followed]
    epochs = sorted(set.intersection(*map(set, curves)))
    shown = metric_of(key).shown
    return {epoch: summarise([shown(values[epoch]) for values in curves]) for epoch in epochs}


def sweep(results: Sequence[CellResult]) -> dict[float, Summary]:
    """The final test error of cells that differ in a single number, by that number.

    Args:
        results: The cells of Fig. 7a, or those of Fig. 7b.
    """
    points = {}
    for result in results:
        values = list(final_values(result, TEST_ERROR).values())
        if values:
            points[swept_value(result)] = summarise(values)
    return dict(sorted(points.items()))


def swept_value(result: CellResult) -> float:
    """The value of alpha (Fig. 7a) or the updating period in iterations (Fig. 7b) of a cell."""
    cell = result.cell
    text = ' '.join((cell.method, *cell.options))
    match = re.search(r'\balpha=([\d.]+)|\.interval=(\d+)', text)
    assert match is not None, cell
    return float(match[1] or match[2])


def _features(results: Sequence[CellResult], work_dir: Path) -> Drawing:
    """Fig. 3: the picture that was drawn of the features of finished networks."""
    title = 'Features of ResNet-56 on the training images of CIFAR-100'
    lead = (
        't-SNE of the features before the last layer; every tenth class has the same colour. '
        'The paper: tighter classes with OLS.'
    )
    path, networks = picture_in(work_dir), networks_of(results)
    if path.is_file():
        data = base64.b64encode(path.read_bytes()).decode()
        return Drawing(FIGURE, title, lead, picture=f'data:image/png;base64,{data}')
    without = [name for name, network in networks.items() if network is None]
    why = failure_of(path.parent).strip().splitlines()
    if without:
        missing = f'No checkpoint is there of {", ".join(without)}.'
    else:
        missing = f'There is no picture at {path}' + (f': {why[-1]}' if why else '.')
    return Drawing(FIGURE, title, lead, missing=[missing])


def _errors(results: Sequence[CellResult]) -> Drawing:
    """Fig. 4: training and test error over the epochs, with more and more wrong labels."""
    groups: dict[str, list[CellResult]] = {}
    for result in _of(results, 'Fig. 4'):
        match = re.search(r'noise(\d+)', result.cell.config)
        groups.setdefault(f'{match[1]} % wrong labels' if match else '', []).append(result)
    charts, missing, verdicts = [], [], []
    for title, group in groups.items():
        lines = [
            Line(_name(result), curve(result, key), _colour(result), dashed=key == TRAIN_ERROR)
            for result in group
            for key in (TEST_ERROR, TRAIN_ERROR)
        ]
        drawn = _chart(title, 'epoch', 'top-1 error (%)', lines)
        charts += [drawn] if drawn else []
        verdicts += _verdicts(f'{title}, training error', group, TRAIN_ERROR, 1)
        verdicts += _verdicts(f'{title}, test error', group, TEST_ERROR, -1)
        missing += [f'{title}: {line.name}' for line in lines if not line.curve]
    return Drawing(
        'Fig. 4',
        'Training and test error under wrong labels, ResNet-56 on CIFAR-100',
        'Solid: test error; dashed: training error, on the labels as they are. Bands are standard '
        'deviations over the runs; the number after a name is the last test error. The paper: OLS '
        'has the highest training error and the lowest test error.',
        verdicts,
        charts,
        list(dict.fromkeys(missing)),
    )


def _wrong_labels(results: Sequence[CellResult]) -> Drawing:
    """Fig. 5: how little the wrong labels are learnt."""
    cells = _of(results, 'Fig. 5')
    lines = [Line(_name(r), curve(r, WRONG_LABEL_ERROR), _colour(r)) for r in cells]
    drawn = _chart('40 % wrong labels', 'epoch', 'error on the wrong labels (%)', lines)
    return Drawing(
        'Fig. 5',
        'Error on the wrong labels, ResNet-56 on CIFAR-100',
        'The share of the wrongly labelled training images that are not predicted as their wrong '
        'label: high means that the noise was not memorised. The paper: it is highest with OLS.',
        _verdicts('At the last epoch', cells, WRONG_LABEL_ERROR, 1),
        [drawn] if drawn else [],
        [line.name for line in lines if not line.curve],
    )


def _sweeps(results: Sequence[CellResult]) -> list[Drawing]:
    """Fig. 7: the share of the hard label, and the updating period."""
    drawn = []
    for name, title, x_label, lead, log in (
        ('Fig. 7a', 'The share of the hard label', 'alpha',
         'The paper: the lowest error at 0.5.', False),
        ('Fig. 7b', 'The updating period of the soft labels', 'iterations',
         f'The paper: the lowest error at one epoch, here {EPOCH} iterations; a sharp rise for '
         'longer periods, and little difference for shorter ones.', True),
    ):  # fmt: skip
        cells = _of(results, name)
        levels = _levels(results, {result.config for result in cells})
        points = sweep(cells)
        line = Line('OLS', points, COLOURS['ols'])
        chart = _chart(title, x_label, 'top-1 error (%)', [line], levels, log=log)
        without = [f'{value:g}' for r in cells if (value := swept_value(r)) not in points]
        missing = [f'{x_label} {", ".join(without)}'] if without else []
        drawn.append(
            Drawing(
                name,
                f'{title}, ResNet-29',
                f'Top-1 error at the last epoch: mean and standard deviation. {lead}',
                charts=[chart] if chart else [],
                missing=missing,
            )
        )
    return drawn


def _levels(results: Sequence[CellResult], configs: set[str]) -> list[Line]:
    """Hard labels and OLS as Table VIII has them, to compare with cells of the same configs."""
    return [
        Line(f'{_name(result)} (Table VIII)', {0.0: summarise(values)}, _colour(result))
        for result in _of(results, 'VIII')
        if result.cell.method in ('hard', 'ols')
        and result.config in configs
        and (values := list(final_values(result, TEST_ERROR).values()))
    ]


def _of(results: Sequence[CellResult], table: str) -> list[CellResult]:
    return [result for result in results if result.cell.table == table]


def _name(result: CellResult) -> str:
    return method_title(result.cell.method)


def _colour(result: CellResult) -> int:
    return COLOURS.get(result.cell.method.partition(':')[0], 3)


def _verdicts(what: str, cells: Sequence[CellResult], key: str, direction: int) -> list[str]:
    """Whether OLS differs from hard labels and LS at the end as the paper's curves do.

    Args:
        what: What is compared, for the reader.
        cells: Those of one setting.
        key: Under which the metric is logged.
        direction: 1 where the paper has OLS higher, -1 where it has it lower.
    """
    values = {result.cell.method: final_values(result, key) for result in cells}
    said = []
    for other in ('hard', 'ls'):
        ours = paired_difference(values.get('ols', {}), values.get(other, {}))
        if ours.n:
            verdict = verdict_text(judge(direction, ours), ours, 2)
            said.append(f'OLS to {method_title(other)} {difference(ours, 2)}: {verdict}')
    return [f'{what}: {"; ".join(said)}.'] if said else []


def _chart(
    title: str,
    x_label: str,
    y_label: str,
    lines: Sequence[Line],
    levels: Sequence[Line] = (),
    log: bool | None = None,
) -> dict[str, Any] | None:
    """A chart with its legend, for the page; None if there is nothing to draw.

    Args:
        title: Title of the chart.
        x_label: Label of the horizontal axis.
        y_label: Label of the vertical axis.
        lines: What is drawn, with bands.
        levels: Lines with a single value, drawn all across.
        log: Of a sweep: whether the horizontal axis is logarithmic. None for curves over epochs.
    """
    lines = [line for line in lines if line.curve]
    if not lines:
        return None
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with page_style(f'{title} {y_label}'):
        figure = Figure(figsize=(5, 3.2), layout='constrained')
        axes = figure.add_subplot()
        for line in lines:
            colour, style = series_colour(line.colour), '--' if line.dashed else '-'
            draw_curve(axes, line.curve, colour, linestyle=style, linewidth=1.8)
        for level in levels:
            (value,) = level.curve.values()
            axes.axhline(value.mean, color=series_colour(level.colour), linestyle=':')
        if log:
            axes.set_xscale('log')
            axes.minorticks_off()
            ticks = sorted({x for line in lines for x in line.curve})
            axes.set_xticks(ticks, [f'{tick:g}' for tick in ticks], rotation=45)
        if log is None:  # epochs
            axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
        axes.set_xlabel(x_label, color=INK)
        axes.set_ylabel(y_label, color=INK)
        style_axes(axes)
        svg = as_element(figure)
    named = [line for line in lines if not line.dashed] or lines
    values = [_last(line) if log is None else _lowest(line) for line in named]
    legend = [(line.name, value, line.colour) for line, value in zip(named, values)]
    legend += [(f'{level.name}, dotted', _last(level), level.colour) for level in levels]
    return dict(title=title, svg=svg, legend=legend, more=0)


def _lowest(line: Line) -> str:
    """The lowest mean of a line, and where it is."""
    at = min(line.curve, key=lambda x: line.curve[x].mean)
    return f'lowest {line.curve[at].mean:.2f} at {at:g}'


def _last(line: Line) -> str:
    return f'{list(line.curve.values())[-1].mean:.2f}'
