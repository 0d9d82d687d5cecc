"""Online label smoothing for very many classes."""

from __future__ import annotations

from typing import Any

from mmdet_ols.methods.classification_losses import HeadLoss
from mmdet_ols.methods.method import loss_method


def ols_sparse(
    loss: HeadLoss,
    *,
    alpha: float = 0.5,
    top_m: int = 100,
    start: str = 'uniform',
    empty_class: str = 'keep',
    sigmoid_reading: str = 'normalized',
    soft_row_threshold: float = 0.8,
) -> dict[str, Any]:
    """Learn as with `ols`, but keep only the largest entries of every soft label.

    Args:
        loss: The loss that is replaced.
        alpha: Share of the hard label, in [0, 1].
        top_m: How many entries of each soft label are kept; the others share the rest evenly.
        start: The soft labels of the first epoch: 'uniform', 'zeros', 'label_smoothing' or 'hard'.
        empty_class: What a class without a correct sample gets: 'keep' or 'uniform'.
        sigmoid_reading: What sigmoid scores say about a class: 'normalized', 'softmax' or 'mean'.
        soft_row_threshold: A mixup row teaches its largest class if that class holds this share.
    """
    return dict(
        alpha=alpha,
        top_m=top_m,
        start=start,
        empty_class=empty_class,
        sigmoid_reading=sigmoid_reading,
        soft_row_threshold=soft_row_threshold,
    )


METHOD = loss_method(
    ols_sparse,
    loss='OLSSparseLoss',
    source='this project; the method is that of Zhang et al., IEEE TIP 2021, arXiv 2011.12562',
    rolls_over=True,
)
