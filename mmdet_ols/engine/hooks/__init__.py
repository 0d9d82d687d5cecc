"""Hooks of MMEngine's runner."""

from mmdet_ols.engine.hooks.adversarial_error_hook import AdversarialErrorHook
from mmdet_ols.engine.hooks.divergence_hook import DivergenceError, DivergenceHook
from mmdet_ols.engine.hooks.ensemble_hook import EnsembleHook
from mmdet_ols.engine.hooks.late_loss_hook import LateLossHook
from mmdet_ols.engine.hooks.ols_hook import OLSHook
from mmdet_ols.engine.hooks.sample_state_hook import SampleStateHook
from mmdet_ols.engine.hooks.train_error_hook import TrainErrorHook

__all__ = [
    'AdversarialErrorHook',
    'DivergenceError',
    'DivergenceHook',
    'EnsembleHook',
    'LateLossHook',
    'OLSHook',
    'SampleStateHook',
    'TrainErrorHook',
]
