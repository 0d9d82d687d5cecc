"""The charts of a training."""

from __future__ import annotations

import re
from math import isnan

from mmdet_ols.analysis.report.accuracy import accuracy
from mmdet_ols.analysis.report.charts import training_charts
from mmdet_ols.analysis.report.record import Curves


def legend(lines, title='Learning rate'):
    """Name and last value of each line of the chart."""
    charts = training_charts(Curves(training=lines, epochs=[]), 'epoch')
    (shown,) = [chart for chart in charts if chart['title'] == title]
    return [(name, float(value)) for name, value, _ in shown['legend']]


def test_the_last_value_of_a_metric_is_the_last_one_though_no_chart_shows_it():
    values = (6.0, 5.0, float('nan'))
    lines = [{'calibration/ece': value, 'step': epoch} for epoch, value in enumerate(values, 1)]
    shown = accuracy(Curves(training=[], epochs=lines), 'epoch')
    ((name, last, best),) = shown['metrics']
    assert name == 'calibration/ece' and isnan(last) and best == 5.0


def test_the_learning_rate_is_the_one_that_the_config_names():
    assert legend([dict(iter=1, lr=0.1), dict(iter=2, lr=0.05)]) == [('lr', 0.05)]
    # With a backbone that learns at a tenth, MMEngine logs the backbone's rate as `lr`.
    lines = [dict(iter=1, lr=0.01, base_lr=0.1), dict(iter=2, lr=0.005, base_lr=0.05)]
    assert legend(lines) == [('base_lr', 0.05)]


def test_a_single_epoch_has_a_tick_of_its_own_and_no_parts_of_epochs():
    shown = accuracy(Curves(training=[], epochs=[{'accuracy/top1': 50.0, 'step': 1}]), 'epoch')
    svg = shown['charts'][0]['svg']
    assert re.findall(r'<text [^>]*anchor: middle[^>]*>([^<]*)</text>', svg) == ['1', 'epoch']


def test_the_last_loss_of_a_training_that_diverged_is_not_finite():
    losses = (2.0, 1.0, float('inf'), float('nan'))
    ((name, last),) = legend([dict(iter=i, loss=loss) for i, loss in enumerate(losses)], 'Losses')
    assert name == 'loss' and isnan(last)
