"""Tables of finished runs across the values of one option, to choose it by."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Sequence

from mmdet_ols.experiments.evidence import EvidenceRow
from mmdet_ols.experiments.tables import mean_and_sd
from mmdet_ols.experiments.writing import markdown_table
from mmdet_ols.results.metrics import Metric, headline_metrics, metric_of
from mmdet_ols.results.statistics import summarise

#: The column of runs that leave the option as their config has it.
UNCHANGED = 'as in the config'


def options_of(row: EvidenceRow) -> dict[str, str]:
    """What overrode entries of a row's config, by their keys."""
    words = (word.partition('=') for word in shlex.split(row.options))
    return {key: value for key, equals, value in words if equals}


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
        The tables as Markdown, and a note. The best mean of each method is in bold, or several
        that are equal.
    """
    cells: dict[tuple[str, str], list[EvidenceRow]] = {}
    for row in rows:
        cells.setdefault((_name(row, rows, option), _value(row, option)), []).append(row)
    names = list(dict.fromkeys(name for name, _ in cells))
    values = sorted({value for _, value in cells}, key=_by_number)
    logged = [key for row in rows for key in row.metrics]
    shown = [metric_of(key) for key in metrics] if metrics else headline_metrics(logged)
    tables = []
    for metric in shown:
        lines = [
            [name, *_cells(metric, [cells.get((name, value), []) for value in values])]
            for name in names
        ]
        tables.append(markdown_table([metric.described, *values], lines))
    numbers = [len({row.seed for row in own}) for own in cells.values()]
    n = ' to '.join(str(number) for number in dict.fromkeys([min(numbers), max(numbers)]))
    spread = ' (mean ± sample standard deviation)' if max(numbers) > 1 else ''
    return [*tables, f'Columns: `{option}`; n = {n}{spread}; the best of each method in bold.']


def _cells(metric: Metric, by_value: Iterable[Sequence[EvidenceRow]]) -> list[str]:
    """A method's cells; the best of them in bold, where there are several and a direction."""
    texts, means = [], {}
    for column, rows in enumerate(by_value):
        logged = {row.seed: row.metrics[metric.key] for row in rows if metric.key in row.metrics}
        values = {seed: metric.shown(value) for seed, value in logged.items()}
        texts.append(mean_and_sd(values, metric.digits) if values else '')
        mean = summarise(list(values.values())).mean
        if not math.isnan(mean):  # no run, or one that diverged
            means[column] = mean
    if metric.lower_is_better is not None and sum(map(bool, texts)) > 1 and means:
        best = (min if metric.lower_is_better else max)(means.values())
        for column, mean in means.items():
            texts[column] = f'**{texts[column]}**' if mean == best else texts[column]
    return texts


def _name(row: EvidenceRow, rows: Sequence[EvidenceRow], option: str) -> str:
    """The name of a row; with its settings where a config has changed between runs of one cell."""
    cell = row.name, _value(row, option)
    settings = {other.settings for other in rows if (other.name, _value(other, option)) == cell}
    return row.name if len(settings) == 1 else f'{row.name} ({row.settings[:6]})'


def _value(row: EvidenceRow, option: str) -> str:
    """The value of an option that a row was made with."""
    return options_of(row).get(option, UNCHANGED)


def _by_number(value: str) -> tuple[int, float, str]:
    """Sort numbers by their size, and words after them."""
    try:
        return 0, float(value), value
    except ValueError:
        return 1, 0.0, value
