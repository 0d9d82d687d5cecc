"""OLS-Single: the prediction for one other sample instead of the mean of a class."""

from __future__ import annotations

from typing import Any

from mmdet_ols.methods.classification_losses import HeadLoss
from mmdet_ols.methods.method import loss_method


def ols_single(
    loss: HeadLoss,
    *,
    alpha: float = 0.5,
    bank_size: int = 50,
    empty_class: str = 'uniform',
    sigmoid_reading: str = 'normalized',
    soft_row_threshold: float = 0.8,
) -> dict[str, Any]:
    """Learn from the hard label and the prediction for another sample of the class.

    The paper leaves open where that prediction comes from; `OLSSingleLoss` says what is done here.

    Args:
        loss: The loss that is replaced.
        alpha: Share of the hard label, in [0, 1].
        bank_size: How many predictions are kept for each class.
        empty_class: What a class without a correct sample learns from: 'uniform' or 'keep'.
        sigmoid_reading: What sigmoid scores say about a class: 'normalized', 'softmax' or 'mean'.
        soft_row_threshold: A mixup row teaches its largest class if that class holds this share.
    """
    return dict(
        alpha=alpha,
        bank_size=bank_size,
        empty_class=empty_class,
        sigmoid_reading=sigmoid_reading,
        soft_row_threshold=soft_row_threshold,
    )


METHOD = loss_method(
    ols_single,
    loss='OLSSingleLoss',
    source='Zhang et al., Delving Deep into Label Smoothing, section V-E, arXiv 2011.12562',
    rolls_over=True,
)
