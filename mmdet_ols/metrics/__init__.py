"""Metrics for MMEngine's evaluator."""

from mmdet_ols.metrics.voc_ap import VOCAPMetric

__all__ = ['VOCAPMetric']
