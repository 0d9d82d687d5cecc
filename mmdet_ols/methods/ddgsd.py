"""Data-distortion guided self-distillation: two views of an image predict each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mmdet_ols.config_tree import type_name
from mmdet_ols.methods.classifiers import only_head, replace_classifier, restore_classifier
from mmdet_ols.methods.method import KeptSettings, Method, options_of, summary_of

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
    dataset = (cfg.get('train_dataloader') or {}).get('dataset')
    if not dataset:
        raise ValueError(
            'ddgsd shows each training image twice, but the config has no `train_dataloader` with '
            'a data set: name one, or choose another method.'
        )
    preprocessor = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    if cfg.model.get('train_cfg') or preprocessor.get('batch_augments'):
        raise ValueError(
            'ddgsd compares two views of one image, but model.train_cfg (or batch_augments of the '
            'data preprocessor) mixes images of a batch: leave that out, or choose another method.'
        )
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
    cfg.train_dataloader.dataset = dict(type=VIEWS, dataset=dataset)


def _undo(cfg: Config) -> dict[str, Any]:
    told = restore_classifier(cfg)
    loader = cfg.get('train_dataloader') or {}
    if type_name(loader.get('dataset') or {}) == VIEWS:
        loader['dataset'] = loader['dataset']['dataset']
    return told


def _apply(cfg: Config, given: Mapping[str, Any], kept: KeptSettings) -> None:
    ddgsd(cfg, **given)


METHOD = Method(
    name='ddgsd',
    summary=summary_of(ddgsd),
    source='Xu and Liu, Data-Distortion Guided Self-Distillation for Deep Neural Networks, AAAI '
    '2019; without the distance of features, as the authors of OLS have it',
    changes='the classifier (TwoViewClassifier), and the training data, of which it gets two views',
    options=options_of(ddgsd),
    apply=_apply,
    undo=_undo,
    combines_with=('cutout',),
)
