"""What `type='...Loss'` names in a config: one file a method."""

from mmdet_ols.losses.ls_loss import LSLoss
from mmdet_ols.losses.ols_loss import OLSLoss

__all__ = ['LSLoss', 'OLSLoss']
