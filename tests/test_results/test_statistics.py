"""The statistics of the tables."""

from __future__ import annotations

import numpy as np
from scipy import stats

from mmdet_ols.results.statistics import paired_difference, summarise


def test_intervals_are_those_of_students_t():
    values = [81.2, 81.9, 80.7, 82.4]
    summary = summarise(values)
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    np.testing.assert_allclose(summary[:3], (81.55, (1.69 / 3) ** 0.5, 4), rtol=1e-12)
    np.testing.assert_allclose(summary[3:], (low, high), rtol=1e-12)
    assert summarise([5.0])[:1] == (5.0,) and np.isnan(summarise([5.0])[3:]).all()
    assert summarise([]).n == 0 and np.isnan(summarise([]).mean)


def test_the_interval_of_differences_is_that_of_the_paired_test():
    a, b = {0: 80.0, 1: 82.0, 2: 81.0}, {1: 82.0, 0: 83.0, 3: 50.0}
    difference = paired_difference(b, a)
    interval = stats.ttest_rel([83, 82], [80, 82]).confidence_interval()
    assert (difference.mean, difference.n) == (1.5, 2)
    np.testing.assert_allclose(difference[3:], (interval.low, interval.high), rtol=1e-12)
