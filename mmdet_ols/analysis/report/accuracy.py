"""Metrics over time, and the average precision of every class."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from mmdet_ols.analysis.report.charts import chart, finite, series
from mmdet_ols.analysis.report.record import Curves
from mmdet_ols.results.metrics import class_of_key, headline_metrics, metric_of
from mmdet_ols.results.run_folder import NO_METRICS, OWN_GROUP


def accuracy(curves: Curves, unit: str) -> dict[str, Any] | None:
    """Charts and tables of the metrics, for the page; None if none was logged.

    Args:
        curves: What the run logged.
        unit: What the loop counts.
    """
    logged = series(curves.epochs, 'step', _overall_metric)
    metrics = finite(logged)
    if not metrics:
        return None
    # A class without objects has NaN.
    per_class = finite(series(curves.epochs, 'step', class_of_key))
    main = main_metric(metrics)
    assert main is not None
    charts = [
        chart('Over time', unit, {short_name(main): logged[main]}),
        chart('AP of each class', unit, per_class),
    ]
    ranked = sorted(per_class.items(), key=lambda item: item[1][-1][1])
    return dict(
        charts=[drawn for drawn in charts if drawn],
        metrics=[
            (name, logged[name][-1][1], _best(name, points)) for name, points in metrics.items()
        ],
        classes=[(name, points[-1][1], max(y for _, y in points)) for name, points in ranked],
    )


def main_metric(keys: Iterable[str]) -> str | None:
    """The most important metric of these, or None where there is none."""
    names = [key for key in keys if not key.startswith(OWN_GROUP)]
    return headline_metrics(names)[0].key if names else None


def short_name(key: str) -> str:
    """The key of a metric without the group that detectors log it under."""
    return key.removeprefix('pascal_voc/').removeprefix('coco/')


def _overall_metric(key: str) -> str | None:
    """The key itself if it is that of a metric over all classes."""
    hidden = key in NO_METRICS or key.startswith(OWN_GROUP) or '/AP_11points/' in key
    return None if hidden or class_of_key(key) else key


def _best(key: str, points: Sequence[tuple[float, float]]) -> float | None:
    direction = metric_of(key).logged_lower_is_better
    if direction is None:
        return None
    values = [value for _, value in points]
    return min(values) if direction else max(values)
