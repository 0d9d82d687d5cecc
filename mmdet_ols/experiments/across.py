"""Tables of finished runs across the values of one option, to choose it by."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence

from mmdet_ols.experiments.evidence import EvidenceRow
from mmdet_ols.experiments.tables import mean_and_sd
from mmdet_ols.experiments.writing import markdown_table
from mmdet_ols.results.metrics import Metric, headline_metrics, metric_of
from mmdet_ols.results.statistics import summarise

#: The column of runs that leave the option as their config has it.
UNCHANGED = 'as in the config'


def without_option(row: EvidenceRow, option: str) -> str:
    """What else overrode entries of a row's config."""
    words = shlex.split(row.options)
    return shlex.join(word for word in words if not word.startswith(f'{option}='))


def tables_across(rows: Sequence[EvidenceRow], option: str, metrics: Sequence[str]) -> list[str]:
    """Write a table for each metric: a row for each method, a column for each value of an option.

    Args:
        rows: Runs that differ in nothing but their methods, seeds and this option.
        option: Key of the option, as in `optim_wrapper.optimizer.lr`.
        metrics: Keys of the metrics to show; the hosts' main ones by default.

    Returns:
        The tables as Markdown, and a note. The best mean of each method is in bold.
    """
    values = sorted({_value(row, option) for row in rows}, key=_by_number)
    names = list(dict.fromkeys(row.name for row in rows))
    logged = [key for row in rows for key in row.metrics]
    shown = [metric_of(key) for key in metrics] if metrics else headline_metrics(logged)
    tables = []
    for metric in shown:
        lines = []
        for name in names:
            own = [row for row in rows if row.name == name and metric.key in row.metrics]
            by_value = [[row for row in own if _value(row, option) == value] for value in values]
            lines.append([name, *_cells(metric, by_value)])
        tables.append(markdown_table([metric.described, *values], lines))
    numbers = sorted({len(seeds) for seeds in _seeds(rows, option)})
    n = ' to '.join(str(number) for number in dict.fromkeys([numbers[0], numbers[-1]]))
    spread = ' (mean ± sample standard deviation)' if numbers[-1] > 1 else ''
    return [*tables, f'Columns: `{option}`; n = {n}{spread}; the best of each method in bold.']


def _cells(metric: Metric, by_value: Iterable[Sequence[EvidenceRow]]) -> list[str]:
    """A method's cells; the best of them in bold, where the direction is known."""
    texts, means = [], {}
    for column, rows in enumerate(by_value):
        values = {row.seed: metric.shown(row.metrics[metric.key]) for row in rows}
        texts.append(mean_and_sd(values, metric.digits) if values else '')
        if values:
            means[column] = summarise(list(values.values())).mean
    if metric.lower_is_better is not None and len(means) > 1:
        best = (min if metric.lower_is_better else max)(means, key=means.__getitem__)
        texts[best] = f'**{texts[best]}**'
    return texts


def _seeds(rows: Sequence[EvidenceRow], option: str) -> Iterable[set[int]]:
    """The seeds of each cell."""
    cells: dict[tuple[str, str], set[int]] = {}
    for row in rows:
        cells.setdefault((row.name, _value(row, option)), set()).add(row.seed)
    return cells.values()


def _value(row: EvidenceRow, option: str) -> str:
    """The value of an option that a row was made with."""
    words = (word.partition('=') for word in shlex.split(row.options))
    return next((value for key, _, value in words if key == option), UNCHANGED)


def _by_number(value: str) -> tuple[int, float, str]:
    """Sort numbers by their size, and words after them."""
    try:
        return 0, float(value), value
    except ValueError:
        return 1, 0.0, value
