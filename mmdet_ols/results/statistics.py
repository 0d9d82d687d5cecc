"""Statistics of a few runs: mean, standard deviation, intervals, paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np


class Summary(NamedTuple):
    """Mean, sample standard deviation and 95 % interval of `n` values; NaN where n is too small."""

    mean: float
    sd: float
    n: int
    low: float
    high: float


def summarise(values: Sequence[float]) -> Summary:
    """Compute mean, sample standard deviation and Student's t interval of the mean.

    Args:
        values: One value a run.
    """
    from scipy.stats import t

    n = len(values)
    if n == 0:
        return Summary(np.nan, np.nan, 0, np.nan, np.nan)
    mean = float(np.mean(values))
    if n == 1:
        return Summary(mean, np.nan, 1, np.nan, np.nan)
    sd = float(np.std(values, ddof=1))
    half = float(t.ppf(0.975, n - 1)) * sd / n**0.5
    return Summary(mean, sd, n, mean - half, mean + half)


def paired_difference(values: Mapping[int, float], reference: Mapping[int, float]) -> Summary:
    """Summarise `values` minus `reference` over the seeds that both have.

    The interval is that of the paired t-test.

    Args:
        values: By seed.
        reference: By seed.
    """
    return summarise([values[seed] - reference[seed] for seed in values if seed in reference])
