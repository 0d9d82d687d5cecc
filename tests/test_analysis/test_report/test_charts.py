"""The charts of a training."""

from __future__ import annotations

from mmdet_ols.analysis.report.charts import training_charts
from mmdet_ols.analysis.report.record import Curves


def legend(lines):
    """Name and last value of each line of the chart of learning rates."""
    charts = training_charts(Curves(training=lines, epochs=[]), 'epoch')
    (rates,) = [chart for chart in charts if chart['title'] == 'Learning rate']
    return [(name, float(value)) for name, value, _ in rates['legend']]


def test_the_learning_rate_is_the_one_that_the_config_names():
    assert legend([dict(iter=1, lr=0.1), dict(iter=2, lr=0.05)]) == [('lr', 0.05)]
    # With a backbone that learns at a tenth, MMEngine logs the backbone's rate as `lr`.
    lines = [dict(iter=1, lr=0.01, base_lr=0.1), dict(iter=2, lr=0.005, base_lr=0.05)]
    assert legend(lines) == [('base_lr', 0.05)]
