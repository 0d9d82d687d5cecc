"""Classifiers that learn from themselves. Importing them needs MMPretrain.

A config that uses one imports this package, as the methods `byot`, `ddgsd` and `tfkd_self` let it:
`custom_imports = dict(imports=['mmdet_ols.models.self_distillation'])`. All of them keep the names
of `ImageClassifier`'s parameters, predict as it does, and their checkpoints load into it.
"""

from mmdet_ols.models.self_distillation.multi_exit import MultiExitClassifier
from mmdet_ols.models.self_distillation.self_taught import SelfTaughtClassifier
from mmdet_ols.models.self_distillation.two_view import TwoViewClassifier

__all__ = ['MultiExitClassifier', 'SelfTaughtClassifier', 'TwoViewClassifier']
