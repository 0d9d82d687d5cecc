"""The tables of a comparison as rows of text, and what a reader must know about them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mmdet_ols.experiments.comparison import Comparison
from mmdet_ols.results.metrics import Metric, class_of_key, metric_of
from mmdet_ols.results.statistics import Summary, summarise

Table = tuple[list[str], list[list[str]]]
#: Groups of metrics that only detectors have.
DETECTION_GROUPS = ('pascal_voc', 'coco')


def main_table(comparison: Comparison) -> Table:
    """Header and rows of the main table: one row for each metric and method."""
    header = [
        'metric', 'method', 'mean', 'sd', 'n', f'difference to {comparison.names[0]}',
        '95 % interval', 'time a run (median)',
    ]  # fmt: skip
    if comparison.shows_best:
        header.append('best epoch')
    if comparison.paper:
        header.append('paper')
    rows = [
        _main_row(comparison, metric, name)
        for metric in comparison.metrics
        for name in comparison.names
        # Of metrics that were chosen, some may be measured for a part of the rows only.
        if comparison.summary(name, metric).n or not comparison.shown
    ]
    return header, rows


def _main_row(comparison: Comparison, metric: Metric, name: str) -> list[str]:
    own, digits = comparison.summary(name, metric), metric.digits
    row = [metric.described, name, _number(own.mean, digits), _number(own.sd, digits), str(own.n)]
    if name == comparison.names[0]:
        row += ['', '']
    else:
        difference = comparison.difference(name, metric)
        row += [_number(difference.mean, digits, '+'), _interval(difference, own.n, digits)]
    seconds = [run.seconds for (of, _), run in comparison.finished.items() if of == name]
    # A run that was interrupted, or that had to share its core, may have taken many times as long.
    row.append(duration(float(np.median(seconds)) if seconds else np.nan))
    if comparison.shows_best:
        row.append(mean_and_sd(comparison.best_values(name, metric), digits))
    if comparison.paper:
        row.append(paper_cell(comparison, name, metric))
    return row


def overview(comparison: Comparison) -> Table:
    """Header and rows with mean ± sd only; methods or metrics go down, whichever are more."""
    names, metrics = comparison.names, comparison.metrics
    table = [['', *names]] + [
        [metric.described]
        + [mean_and_sd(comparison.values(name, metric), metric.digits) for name in names]
        for metric in metrics
    ]
    if len(names) > len(metrics):
        table = [list(row) for row in zip(*table)]
    return table[0], table[1:]


def class_table(comparison: Comparison) -> Table:
    """Header and rows of the AP of every class, in per cent; no rows where none is logged."""
    header = ['AP (%)', *comparison.names]
    rows = []
    for key in comparison.keys:
        name_of_class = class_of_key(key)
        if name_of_class is not None:
            metric = metric_of(key)
            values = [comparison.values(name, metric) for name in comparison.names]
            rows.append([name_of_class, *(mean_and_sd(cell, metric.digits) for cell in values)])
    return header, rows


def paper_cell(comparison: Comparison, name: str, metric: Metric) -> str:
    """The paper's figure for a row, with the table that it stands in; empty if there is none."""
    figure = comparison.paper_figure(name, metric)
    if figure is None:
        return ''
    sd = figure.get('sd', figure.get('std'))
    table = f' (Table {figure["table"]})' if 'table' in figure else ''
    spread = with_spread(figure['value'], np.nan if sd is None else sd, metric.digits)
    return f'{spread}{table}'


def notes(comparison: Comparison) -> list[str]:
    """What a reader of the tables must know."""
    lines = [
        'The last epoch counts, not the best one. sd is the sample standard deviation over the '
        "seeds; the interval is Student's t for the paired differences (same seed) to "
        f'{comparison.names[0]}.'
    ]
    if comparison.shows_best:
        lines.append(
            'best epoch: the value (mean ± sd) at the epoch with the best '
            f'{comparison.metrics[0].title}, which was chosen on the test set and so is too good; '
            "the paper's classifiers are given at that epoch."
        )
    unknown = [metric.key for metric in comparison.metrics if metric.lower_is_better is None]
    if unknown:
        lines.append(
            f'Nothing says whether lower or higher is better in {", ".join(unknown)}: they are '
            'shown as they are logged.'
        )
    lines += _notes_on_the_paper(comparison)
    if comparison.compared_as_they_are:
        lines.append(
            f'The methods of {", ".join(comparison.compared_as_they_are)} cannot be undone (their '
            'heads are not known), so their configs were compared as they are.'
        )
    return lines + _notes_on_runs(comparison)


def _notes_on_the_paper(comparison: Comparison) -> list[str]:
    shown = [
        (metric, figure)
        for metric in comparison.metrics
        for name in comparison.names
        if (figure := comparison.paper_figure(name, metric))
    ]
    lines = [f'The paper: {figure["note"]}' for _, figure in shown if figure.get('note')]
    detection = any(metric.key.partition('/')[0] in DETECTION_GROUPS for metric, _ in shown)
    if detection and not comparison.tta:
        lines.append('The paper tests detectors at several scales (--tta), these runs at one.')
    return list(dict.fromkeys(lines))


def _notes_on_runs(comparison: Comparison) -> list[str]:
    lines, runs = [], comparison.runs
    missing = [
        run_name(*key)
        for key, run in runs.items()
        if not run.final and key not in comparison.failed
    ]
    if missing:
        lines.append(f'Not finished yet, so not in the tables: {", ".join(missing)}.')
    read = [run_name(*key) for key, run in runs.items() if run.recorded]
    if read:
        lines.append(f'Read from rows of a file, so without curves: {", ".join(read)}.')
    if comparison.primary is not None and comparison.primary not in comparison.keys:
        keys = ', '.join(comparison.keys)
        lines.append(f'No run logged {comparison.primary}, only {keys}.')
    for key, why in comparison.failed.items():
        lines.append(f'FAILED, so not in the tables: {run_name(*key)}: {why.splitlines()[0]}')
    return lines


def run_name(name: str, seed: int) -> str:
    """A run of a comparison as people are told of it."""
    return f'{name} seed {seed}'


def recorded(comparison: Comparison) -> list[list[str]]:
    """Name and value of what the finished runs recorded; and of which runs, where they differ."""
    shown = list(comparison.finished)
    facts: dict[str, dict[str, list[str]]] = {}  # fact, value, runs
    for key in shown:
        starts = comparison.made.get(key) or [{'made': 'not recorded'}]
        for fact, value in dict.fromkeys(item for start in starts for item in start.items()):
            facts.setdefault(fact, {}).setdefault(value, []).append(run_name(*key))
    return [
        [fact, value if len(runs) == len(shown) else f'{value} ({", ".join(runs)})']
        for fact, values in facts.items()
        for value, runs in values.items()
    ]


def duration(seconds: float) -> str:
    """Write a time, as in '1,200 h', '1 h 02 min', '3 min 20 s' or '12 s'."""
    if np.isnan(seconds):
        return '–'
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60_000:
        return f'{round(minutes / 60):,} h'
    if minutes >= 60:
        return f'{minutes // 60} h {minutes % 60:02d} min'
    return f'{minutes} min {rest:02d} s' if minutes else f'{rest} s'


def mean_and_sd(values: Mapping[int, float], digits: int) -> str:
    """Mean ± sample standard deviation of the values by seed."""
    mean, sd, n, *_ = summarise(list(values.values()))
    return f'{_number(mean, digits)} ± {_number(sd, digits)}' if n > 1 else _number(mean, digits)


def with_spread(mean: float, sd: float, digits: int) -> str:
    """Mean ± standard deviation, or the mean where there is none."""
    return f'{mean:.{digits}f}' + ('' if np.isnan(sd) else f' ± {sd:.{digits}f}')


def _number(value: float, digits: int, sign: str = '') -> str:
    return '–' if np.isnan(value) else f'{value:{sign}.{digits}f}'


def _interval(difference: Summary, n: int, digits: int) -> str:
    noun = 'pair' if difference.n == 1 else 'pairs'
    pairs = '' if difference.n in (0, n) else f' ({difference.n} {noun})'
    if np.isnan(difference.low):
        return f'–{pairs}'
    return f'{difference.low:+.{digits}f} to {difference.high:+.{digits}f}{pairs}'
