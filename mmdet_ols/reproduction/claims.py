"""What the paper claims of its methods, and whether our runs bear it out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from mmdet_ols.paper import Figure, all_figures, method_parts
from mmdet_ols.reproduction.results import CellResult
from mmdet_ols.results.metrics import Metric, metric_of
from mmdet_ols.results.statistics import Summary, paired_difference, summarise

#: Numbers that differ by less than this are equal; the paper prints four decimals.
EQUAL = 1e-9


class Verdict(Enum):
    """What our runs say of a claim."""

    HOLDS = 'holds'
    UNDECIDED = 'cannot be told'
    FAILS = 'fails'
    MISSING = 'missing'


class Kind(Enum):
    """With what the paper compares a method."""

    HARD = 'hard labels'
    BEST_OTHER = 'the best other method'
    WITHOUT_OLS = 'the same without OLS'


class Claim(NamedTuple):
    """The paper says that a method is better, or worse, than another by one metric.

    Attributes:
        kind: With what the method is compared.
        against: The paper's figure for that.
        expected: The paper's difference to it, in the metric's unit.
        ours: The same of our runs, paired by seed, with its 95 % interval.
        verdict: What our runs say of the claim.
    """

    kind: Kind
    against: Figure
    expected: float
    ours: Summary
    verdict: Verdict


class Number(NamedTuple):
    """One number of the paper's tables, and what our runs say of it.

    Attributes:
        figure: The paper's number.
        metric: How it is shown.
        result: The cell that makes it; None where it is not planned, or quoted from others.
        values: What our finished runs reached, by seed, as the paper shows it.
        summary: Of these values.
        difference: To our runs with hard labels, paired by seed; None for hard labels themselves.
        claims: What the paper says of it, compared with other numbers.
    """

    figure: Figure
    metric: Metric
    result: CellResult | None
    values: Mapping[int, float]
    summary: Summary
    difference: Summary | None
    claims: tuple[Claim, ...]

    def claim(self, kind: Kind) -> Claim | None:
        """What the paper says of it compared with this."""
        return next((claim for claim in self.claims if claim.kind is kind), None)


def judge(expected: float, ours: Summary) -> Verdict:
    """Say whether a difference of the paper is borne out by ours.

    Pairs that all differ by the same, such as by one image of a thousand, have no spread to judge
    by: their interval is a point, which always excludes 0.

    Args:
        expected: The paper's difference, which is not 0.
        ours: Ours, with its interval.
    """
    if ours.n == 0:
        return Verdict.MISSING
    if math.isnan(smallest_told(ours)) or ours.low <= 0 <= ours.high:
        return Verdict.UNDECIDED
    return Verdict.HOLDS if (ours.mean > 0) == (expected > 0) else Verdict.FAILS


def smallest_told(ours: Summary) -> float:
    """The smallest difference that so many pairs with this spread could have told from 0.

    NaN where there is no spread, as of a single pair: that tells nothing however large it is.
    """
    told = (ours.high - ours.low) / 2
    return told if told > EQUAL else math.nan


class Numbers:
    """The paper's tables with the values of our runs.

    Args:
        results: What was reached for each cell.
    """

    def __init__(self, results: Sequence[CellResult]) -> None:
        self._results = {_place(figure): r for r in results for figure in r.figures}

    def table(self, name: str) -> list[Number]:
        """The numbers of a table in the paper's order, those that it quotes from others included.

        Args:
            name: As the paper numbers it.
        """
        return [self._number(figure) for figure in all_figures() if figure.table == name]

    def _number(self, figure: Figure) -> Number:
        metric, values = metric_of_figure(figure), self._values(figure)
        claims = tuple(self._claim(figure, kind, of) for kind, of in comparisons(figure).items())
        hard = hard_figure(figure)
        difference = None if hard is None else self._difference(figure, hard)
        return Number(
            figure,
            metric,
            self._result(figure),
            values,
            summarise(list(values.values())),
            difference,
            claims,
        )

    def _claim(self, figure: Figure, kind: Kind, against: Figure) -> Claim:
        expected = figure.value - against.value
        ours = self._difference(figure, against)
        return Claim(kind, against, expected, ours, judge(expected, ours))

    def _result(self, figure: Figure) -> CellResult | None:
        return None if figure.source else self._results.get(_place(figure))

    def _values(self, figure: Figure) -> dict[int, float]:
        result = self._result(figure)
        return {} if result is None else final_values(result, metric_of_figure(figure).key)

    def _difference(self, figure: Figure, against: Figure) -> Summary:
        """Our difference between two numbers, over the seeds that both have."""
        return paired_difference(self._values(figure), self._values(against))


def comparisons(figure: Figure) -> dict[Kind, Figure]:
    """With which of its figures the paper compares one, where they differ.

    With hard labels, whatever the method; OLS with the best method of its column without OLS, where
    OLS is better; and a method combined with OLS with that method by itself.
    """
    if figure.source:
        return {}
    against = {Kind.HARD: hard_figure(figure)}
    names = list(method_parts(figure.method))
    if names == ['ols']:
        against[Kind.BEST_OTHER] = _best_other(figure)
    elif 'ols' in names:
        without = '+'.join(part for part in figure.method.split('+') if part[:3] != 'ols')
        against[Kind.WITHOUT_OLS] = next(
            (other for other in _column(figure) if other.method == without), None
        )
    return {
        kind: other
        for kind, other in against.items()
        if other is not None and abs(figure.value - other.value) > EQUAL
    }


def hard_figure(figure: Figure) -> Figure | None:
    """The paper's number for hard labels in the same setting, in the same table if it has one."""
    if figure.source or figure.method == 'hard':
        return None
    hard = (other for other in _same_setting(figure) if other.method == 'hard')
    return min(hard, key=lambda other: other.table != figure.table, default=None)


def metric_of_figure(figure: Figure) -> Metric:
    """How one of the paper's numbers is shown."""
    name, _, error = figure.metric.partition('_')
    return metric_of(f'accuracy/{name}' if error == 'error' and '/' not in name else figure.metric)


def final_values(result: CellResult, key: str) -> dict[int, float]:
    """What the finished runs of a cell reached by a metric, by seed, as it is shown.

    Args:
        result: The cell.
        key: Under which the metric is logged.
    """
    shown = metric_of(key).shown
    return {
        seed: shown(run.final[key])
        for seed, run in sorted(result.runs.items())
        if run.final and key in run.final
    }


def _best_other(figure: Figure) -> Figure | None:
    """The best method without OLS, where the paper has OLS better than it; otherwise None."""
    sign = -1 if metric_of_figure(figure).lower_is_better is False else 1
    others = [other for other in _column(figure) if 'ols' not in method_parts(other.method)]
    best = min(others, key=lambda other: sign * other.value, default=None)
    if best is None or best.method == 'hard':
        return None  # with which every method is compared
    return best if sign * (figure.value - best.value) < -EQUAL else None


def _column(figure: Figure) -> list[Figure]:
    """The paper's own figures of the same table, setting and metric."""
    return [other for other in _same_setting(figure) if other.table == figure.table]


def _same_setting(figure: Figure) -> Iterator[Figure]:
    """The paper's own figures of the same setting and metric, in any table."""
    for other in all_figures():
        if not other.source and _setting(other) == _setting(figure):
            yield other


def _setting(figure: Figure) -> tuple[str, str, float, str]:
    return figure.data, figure.network, figure.noise_rate, figure.metric


def _place(figure: Figure) -> tuple[str, str, tuple[str, str, float, str]]:
    return figure.table, figure.method, _setting(figure)
