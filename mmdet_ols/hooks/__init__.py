"""What happens at epoch or iteration boundaries."""

from mmdet_ols.hooks.ols_hook import OLSHook

__all__ = ['OLSHook']
