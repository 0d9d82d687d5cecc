"""What `type='...Loss'` names in a config: one file a method."""

from mmdet_ols.losses.bootstrap_loss import BootstrapLoss
from mmdet_ols.losses.deep_self_learning_loss import DeepSelfLearningLoss
from mmdet_ols.losses.disturb_label_loss import DisturbLabelLoss
from mmdet_ols.losses.ls_loss import LSLoss
from mmdet_ols.losses.m_correction_loss import MCorrectionLoss
from mmdet_ols.losses.ols_loss import OLSLoss
from mmdet_ols.losses.ols_single_loss import OLSSingleLoss
from mmdet_ols.losses.ols_sparse_loss import OLSSparseLoss
from mmdet_ols.losses.pairwise_confusion_loss import PairwiseConfusionLoss
from mmdet_ols.losses.pencil_loss import PencilLoss
from mmdet_ols.losses.sample_weight_loss import SampleWeightLoss
from mmdet_ols.losses.sce_loss import SCELoss
from mmdet_ols.losses.tf_kd_reg_loss import TfKDRegLoss

__all__ = [
    'BootstrapLoss',
    'DeepSelfLearningLoss',
    'DisturbLabelLoss',
    'LSLoss',
    'MCorrectionLoss',
    'OLSLoss',
    'OLSSingleLoss',
    'OLSSparseLoss',
    'PairwiseConfusionLoss',
    'PencilLoss',
    'SCELoss',
    'SampleWeightLoss',
    'TfKDRegLoss',
]
