"""Metrics for MMEngine's evaluator."""

from mmdet_ols.evaluation.calibration_error import CalibrationError
from mmdet_ols.evaluation.cifar10h_divergence import CIFAR10HDivergence
from mmdet_ols.evaluation.voc_ap import VOCAPMetric

__all__ = ['CIFAR10HDivergence', 'CalibrationError', 'VOCAPMetric']
