"""Online label smoothing, the paper's method."""

from __future__ import annotations

from typing import Any

from mmdet_ols.methods.classification_losses import HeadLoss
from mmdet_ols.methods.method import loss_method


def ols(
    loss: HeadLoss,
    *,
    alpha: float = 0.5,
    start: str = 'uniform',
    empty_class: str = 'keep',
    sigmoid_reading: str = 'normalized',
    soft_row_threshold: float = 0.8,
    freeze_confidence: float | None = None,
    loss_scale: float = 1.0,
) -> dict[str, Any]:
    """Learn from the hard label and from the class's mean prediction in the last epoch.

    The defaults are the paper's text. The authors' CIFAR code is `start=zeros,empty_class=uniform`;
    their fine-grained code is `freeze_confidence=0.88,empty_class=uniform,loss_scale=2`, because it
    weighs both parts of the loss by 1.

    Args:
        loss: The loss that is replaced.
        alpha: Share of the hard label, in [0, 1]; 1 is the host's own cross entropy.
        start: The soft labels of the first epoch: 'uniform', 'zeros', 'label_smoothing' or 'hard'
            (a class has its hard label until it was recognised).
        empty_class: What a class without a correct sample gets: 'keep' or 'uniform'.
        sigmoid_reading: What sigmoid scores say about a class: 'normalized', 'softmax' or 'mean'.
        soft_row_threshold: A mixup row teaches its largest class if that class holds this share.
        freeze_confidence: Confidence from which on a soft label stays as it is; None never.
        loss_scale: Factor of the loss, on top of the `loss_weight` of the one that is replaced.
    """
    return dict(
        alpha=alpha,
        start=start,
        empty_class=empty_class,
        sigmoid_reading=sigmoid_reading,
        soft_row_threshold=soft_row_threshold,
        freeze_confidence=freeze_confidence,
        loss_weight=loss.scaled_weight(loss_scale),
    )


METHOD = loss_method(
    ols,
    loss='OLSLoss',
    source='Zhang et al., Delving Deep into Label Smoothing, IEEE TIP 2021, arXiv 2011.12562',
    rolls_over=True,
)
