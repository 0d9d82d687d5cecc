"""Pairwise confusion, which begins late in the training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmdet_ols.core.arguments import check_number
from mmdet_ols.methods.changes import add_default_hook
from mmdet_ols.methods.classifiers import only_loss
from mmdet_ols.methods.method import config_method

if TYPE_CHECKING:
    from mmengine.config import Config


def pairwise_confusion(
    cfg: Config,
    *,
    form: str = 'ols',
    confusion_weight: float | None = None,
    inputs: str | None = None,
    start: float = 2 / 3,
) -> None:
    """Draw the predictions for different images together, from a late epoch on.

    Up to `start` the classifier learns with the plain cross entropy; then `LateLossHook` replaces
    the loss, as the authors of OLS do after 200 of 300 epochs.

    Args:
        cfg: The config; it is changed.
        form: 'ols' (the code of the authors of OLS), 'released' or 'paper'.
        confusion_weight: Weight of the distance; None means 0.1 times the number of classes.
        inputs: What is compared, 'logits' or 'softmax'; None means what the form compares.
        start: Share of the config's epochs that pass before, in [0, 1); 0 learns so from the start.

    Raises:
        ValueError: An option is out of range, or the config counts iterations, not epochs.
    """
    note = ' of pairwise_confusion, a share of the epochs,'
    check_number('start', start, 'in [0, 1)', note)
    loss = only_loss(cfg, 'pairwise_confusion')
    changes = dict(form=form, confusion_weight=confusion_weight, inputs=inputs)
    late = loss.counterpart(dict(type='PairwiseConfusionLoss', **changes))
    if start == 0:
        loss.replace(late)
        return
    max_epochs = (cfg.get('train_cfg') or {}).get('max_epochs')
    if max_epochs is None:
        raise ValueError(
            'pairwise_confusion begins in a late epoch, so it needs train_cfg.max_epochs, but the '
            "config's training loop counts no epochs: set start=0."
        )
    # Rounded first, since 0.29 * 100 is a little less than 29.
    first = int(round(max_epochs * start, 6)) + 1
    hook = dict(type='LateLossHook', action_epoch=first, loss=late)
    add_default_hook(cfg, 'pairwise_confusion', hook)


METHOD = config_method(
    pairwise_confusion,
    source='Dubey et al., Pairwise Confusion for Fine-Grained Visual Classification, ECCV 2018, '
    'arXiv 1705.08016; the form and the late start are those of the authors of OLS',
    changes='the loss of a classifier, by a hook that replaces it in a late epoch',
    combines_with=('cutout',),
)
