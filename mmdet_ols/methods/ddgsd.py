"""Data-distortion guided self-distillation: two views of an image predict each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmdet_ols.config_tree import type_name
from mmdet_ols.methods.changes import train_loader
from mmdet_ols.methods.classifiers import (
    only_head,
    refuse_mixing,
    replace_classifier,
    restore_classifier,
)
from mmdet_ols.methods.method import config_method

if TYPE_CHECKING:
    from mmengine.config import Config

#: The data set that gives two views.
VIEWS = 'TwoViewDataset'


def ddgsd(
    cfg: Config,
    *,
    kl_weight: float = 1.0,
    temperature: float = 3.0,
    detach_target: bool = True,
    over_classes: str = 'sum',
    views: str = 'mean',
    mmd_weight: float = 0.0,
) -> None:
    """Let two views of each image, augmented independently, learn each other's predictions.

    The authors of OLS leave out the distance of features (`mmd_weight`; 5e-4 in a
    re-implementation of the original), and released no code of the rest.

    Args:
        cfg: The config; it is changed.
        kl_weight: Weight of the divergence between the views' predictions.
        temperature: Temperature of these predictions.
        detach_target: Whether the view that is learned from stays as it is.
        over_classes: 'sum', or 'mean', which divides the divergence by the number of classes.
        views: 'mean' or 'sum' of the two views' losses, and of both directions of the divergence.
        mmd_weight: Weight of the squared distance between the views' mean features.

    Raises:
        ValueError: The model is no plain classifier, has no training data, or mixes its images; or
            an option is out of range.
    """
    only_head(cfg, 'ddgsd')
    refuse_mixing(cfg, 'ddgsd')
    loader = train_loader(cfg, 'ddgsd')
    replace_classifier(
        cfg,
        'TwoViewClassifier',
        dict(
            kl_weight=kl_weight,
            temperature=temperature,
            detach_target=detach_target,
            over_classes=over_classes,
            views=views,
            mmd_weight=mmd_weight,
        ),
    )
    loader['dataset'] = dict(type=VIEWS, dataset=loader['dataset'])


def _undo(cfg: Config) -> dict[str, Any]:
    told = restore_classifier(cfg)
    loader = cfg.get('train_dataloader') or {}
    if type_name(loader.get('dataset') or {}) == VIEWS:
        loader['dataset'] = loader['dataset']['dataset']
    return told


METHOD = config_method(
    ddgsd,
    source='Xu and Liu, Data-Distortion Guided Self-Distillation for Deep Neural Networks, AAAI '
    '2019; without the distance of features, as the authors of OLS have it',
    changes='the classifier (TwoViewClassifier), and the training data, of which it gets two views',
    undo=_undo,
    combines_with=('cutout',),
)
