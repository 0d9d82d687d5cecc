"""L2RW: each sample weighs as much as a step on it helps a few clean samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmdet_ols.methods.meta_parts import add_meta_parts, remove_meta_parts
from mmdet_ols.methods.method import config_method

if TYPE_CHECKING:
    from mmengine.config import Config


def l2rw(cfg: Config, *, clean_per_class: int = 10, clean_batch_size: int = 100) -> None:
    """Weigh each sample, in each step, by how much a step on it would help a few clean ones.

    A clean part is held out of the training data, with its true labels. In each step a sample's
    weight is the inner product of the gradient of its loss and that of a clean batch's loss, 0
    where that is negative, and divided by the sum of the batch. Schedule and batch size stay the
    config's own; the authors take batches of 100 and 80,000 steps.

    Args:
        cfg: The config; it is changed.
        clean_per_class: Clean samples of each class. 10 are the paper's 1,000 on CIFAR-100; the
            authors' code takes 100 in all by default.
        clean_batch_size: Clean samples that each process looks at in a step.

    Raises:
        ValueError: An option is out of range, or the config is not that of a classifier which can
            learn so.
    """
    add_meta_parts(cfg, 'l2rw', 'L2RWTrainLoop', clean_per_class, clean_batch_size=clean_batch_size)


METHOD = config_method(
    l2rw,
    source='Ren et al., Learning to Reweight Examples for Robust Deep Learning, ICML 2018, '
    'arXiv 1803.09050',
    changes='the training loop of a classifier, its loss, a clean part of the data, and a hook',
    undo=remove_meta_parts,
    combines_with=('cutout',),
)
