"""Metrics for MMEngine's evaluator."""

from mmdet_ols.metrics.calibration_error import CalibrationError
from mmdet_ols.metrics.cifar10h_divergence import CIFAR10HDivergence
from mmdet_ols.metrics.voc_ap import VOCAPMetric

__all__ = ['CIFAR10HDivergence', 'CalibrationError', 'VOCAPMetric']
