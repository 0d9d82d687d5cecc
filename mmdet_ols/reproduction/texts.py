"""The numbers of a reproduction as texts: ours, the paper's, the difference and the verdict."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from mmdet_ols.experiments.tables import with_spread
from mmdet_ols.paper import all_figures
from mmdet_ols.reproduction.claims import Claim, Kind, Number, Verdict, smallest_told
from mmdet_ols.reproduction.layout import method_title
from mmdet_ols.results.statistics import Summary

#: Of the states of a cell's runs, the first that one of them has is shown.
STATES = ('running', 'failed', 'waiting')
SIGNS = {
    Verdict.HOLDS: '✓',
    Verdict.FAILS: '✗',
    Verdict.UNDECIDED: '≈',
    Verdict.MISSING: '–',
}


def digits(number: Number) -> int:
    """How many decimals a number is shown with: as many as the paper prints, or more."""
    return max(number.metric.digits, paper_digits(number.figure.table, number.figure.metric))


@lru_cache
def paper_digits(table: str, metric: str) -> int:
    """How many decimals the paper prints of a metric in a table."""
    values = (f.value for f in all_figures() if (f.table, f.metric) == (table, metric))
    return max(len(f'{value:.10g}'.partition('.')[2]) for value in values)


def own_value(number: Number) -> str:
    """Our mean and standard deviation; without finished runs, what is known of them."""
    if number.summary.n:
        return with_spread(number.summary.mean, number.summary.sd, digits(number))
    result = number.result
    if number.figure.source:
        return 'quoted'
    if result is None:
        return 'missing'
    states = [state.name for state in result.states.values()]
    if any(run.final for run in result.runs.values()):
        return 'not measured'
    return next((state for state in STATES if state in states), 'missing')


def count(number: Number) -> str:
    """How many runs there are, and of how many where some are missing."""
    if not number.summary.n or number.result is None:
        return ''
    planned = len({*number.result.runs, *number.result.states})
    of = f' of {planned}' if planned > number.summary.n else ''
    return f'n {number.summary.n}{of}'


def paper_value(number: Number) -> str:
    """The paper's number with its standard deviation."""
    figure = number.figure
    sd = math.nan if figure.sd is None else figure.sd
    return with_spread(figure.value, sd, paper_digits(figure.table, figure.metric))


def difference(summary: Summary, decimals: int) -> str:
    """A difference and its interval; empty where there is none of either."""
    if not summary.n:
        return ''
    mean = signed(summary.mean, decimals)
    if math.isnan(summary.low):
        return mean
    return f'{mean} [{signed(summary.low, decimals)}, {signed(summary.high, decimals)}]'


def verdict_text(verdict: Verdict, ours: Summary, decimals: int) -> str:
    """The verdict on a difference in words; where nothing can be told, what could have been."""
    if verdict is not Verdict.UNDECIDED:
        return verdict.value
    if ours.n == 1:
        return f'{verdict.value}: one pair of runs'
    told = smallest_told(ours)
    return verdict.value if math.isnan(told) else f'{verdict.value} below {told:.{decimals}f}'


def against(claim: Claim) -> str:
    """With what a claim compares, in words."""
    return method_title(claim.against.method, with_options=False)


def signed(value: float, decimals: int) -> str:
    """A difference with its sign, which is a minus rather than a hyphen."""
    return f'{value:+.{decimals}f}'.replace('-', '−')


class Tally(NamedTuple):
    """How many claims have which verdict, in the order of `Verdict`."""

    holds: int
    undecided: int
    fails: int
    missing: int

    @property
    def all(self) -> int:
        return sum(self)

    def __bool__(self) -> bool:
        return self.all > 0


def tally(numbers: Iterable[Number], kinds: Sequence[Kind]) -> Tally:
    """Count the verdicts on the claims of these kinds."""
    counts = Counter(
        claim.verdict for number in numbers for claim in number.claims if claim.kind in kinds
    )
    return Tally(*(counts[verdict] for verdict in Verdict))


def tally_line(what: str, counts: Tally) -> str:
    """The verdicts as a sentence; empty where the paper claims nothing."""
    if not counts:
        return ''
    claims = f'{counts.all} claim{"" if counts.all == 1 else "s"}'
    if counts.missing == counts.all:
        return f'{what}: nothing can be said yet of {claims} of the paper.'
    parts = [
        f'{number} {word}'
        for number, word in (
            (counts.holds, 'hold' if counts.holds != 1 else 'holds'),
            (counts.undecided, 'cannot be told'),
            (counts.fails, 'fail' if counts.fails != 1 else 'fails'),
            (counts.missing, 'have no runs yet' if counts.missing != 1 else 'has no runs yet'),
        )
        if number
    ]
    return f'{what}: of {claims} of the paper, {", ".join(parts)}.'
