"""Online Label Smoothing with single predictions instead of the class's mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmdet_ols.core import PredictionBank, Samples
from mmdet_ols.losses.ols_loss import OLSLoss, check_option, divisor
from mmdet_ols.registry import register_model


@register_model
class OLSSingleLoss(OLSLoss):
    r"""Cross entropy against the hard label and the prediction for another sample of its class.

    .. math:: L = \alpha\,\mathrm{CE}(p, y) - (1 - \alpha)\sum_c q_c\log p_c

    where q is the prediction for a partner, which is drawn for each sample in each step. On
    average over the draws it is `OLSLoss`, so it shows what the averaging there is worth.

    Reference: `Delving Deep into Label Smoothing <https://arxiv.org/abs/2011.12562>`_, section V-E
    (OLS-Single), which leaves open where a partner's prediction comes from. Here, as a loss sees no
    sample ids: a bank for each class, filled in training with a random sample of last epoch's
    predictions of correctly classified samples (as they were in the step, augmented, before the
    update). A sample may meet its own prediction of last epoch, once in as many draws as its class
    has correct samples. Where a class's bank is empty, as all are in the first epoch, the partner
    is its soft label: uniform.

    The banks roll over in `update_soft_labels()`, as the soft labels of `OLSLoss` do, and what
    several ranks have collected merges into one bank there (see `PredictionBank`). The soft labels
    are kept as well: they are reported, and they are the target in `eval()`, where nothing is
    drawn.

    A mixed row (mixup, CutMix) has one partner, from one of its classes, drawn by their shares.
    Under sigmoid the partner's scores are read as `sigmoid_reading` says, for 'normalized' each
    divided by its own total.

    Partners are drawn with PyTorch's random numbers, whose state MMEngine does not save: a resumed
    run has the same banks as an uninterrupted one, but draws other predictions from them.

    Args:
        num_classes: Number of foreground classes, as the head's own `num_classes`.
        alpha: Share of the hard loss, in [0, 1].
        bank_size: How many predictions are kept for each class (M), at least 1. They take 8 M C^2
            bytes of memory, and of every checkpoint: 4 MB for 100 classes, 400 MB for 1,000.
        empty_class: What a class without a correct sample in an epoch learns from in the next:
            'uniform', or 'keep' (the mean that it had).
        soft_row_threshold: See `OLSLoss`, as for the arguments after it.
        sigmoid_reading: See `OLSLoss`.
        start: See `OLSLoss`.
        freeze_confidence: Must be None: it is a rule for the mean of a class.
        state: See `OLSLoss`; a `PredictionBank`.
        use_sigmoid: See `ClassificationLoss`, as for the arguments after it.
        background: See `ClassificationLoss`.
        reduction: See `ClassificationLoss`.
        loss_weight: See `ClassificationLoss`.
        class_weight: See `ClassificationLoss`.
        ignore_index: See `ClassificationLoss`.
        avg_non_ignore: See `ClassificationLoss`.
        gamma: See `ClassificationLoss`.
        balance: See `ClassificationLoss`.
        quality_beta: See `ClassificationLoss`.
        implementation: See `ClassificationLoss`.

    Raises:
        ValueError: An argument, or a label on the CPU, is outside its range.
        TypeError: `state` is of another kind.

    Example:
        >>> criterion = OLSSingleLoss(num_classes=3)
        >>> criterion(torch.zeros(2, 3), torch.tensor([0, 2]))
        tensor(1.0986)
        >>> _ = criterion.update_soft_labels()
    """

    state_class = PredictionBank
    if TYPE_CHECKING:  # see `OLSLoss`
        state: PredictionBank

    def __init__(
        self,
        num_classes: int,
        alpha: float = 0.5,
        *,
        bank_size: int = 50,
        empty_class: str = 'uniform',
        soft_row_threshold: float = 0.8,
        sigmoid_reading: str = 'normalized',
        start: str = 'uniform',
        freeze_confidence: None = None,
        state: PredictionBank | None = None,
        use_sigmoid: bool = False,
        background: bool = False,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
        class_weight: Sequence[float] | None = None,
        ignore_index: int | None = None,
        avg_non_ignore: bool = False,
        gamma: float = 0.0,
        balance: float | None = None,
        quality_beta: float | None = None,
        implementation: str = 'auto',
    ) -> None:
        if state is None:
            state = PredictionBank(
                num_classes,
                bank_size,
                background,
                start,
                empty_class,
                freeze_confidence,
                divisor(sigmoid_reading),
            )
        else:
            check_option(state, 'bank_size', bank_size, 50)
            check_option(state, 'empty_class', empty_class, 'uniform')
            empty_class = state.empty_class
        super().__init__(
            num_classes,
            alpha,
            soft_row_threshold=soft_row_threshold,
            sigmoid_reading=sigmoid_reading,
            start=start,
            empty_class=empty_class,
            freeze_confidence=freeze_confidence,
            state=state,
            use_sigmoid=use_sigmoid,
            background=background,
            reduction=reduction,
            loss_weight=loss_weight,
            class_weight=class_weight,
            ignore_index=ignore_index,
            avg_non_ignore=avg_non_ignore,
            gamma=gamma,
            balance=balance,
            quality_beta=quality_beta,
            implementation=implementation,
        )

    @property
    def bank_size(self) -> int:
        return self.state.bank_size

    def make_target(self, samples: Samples) -> Tensor:
        if not self.training:
            return super().make_target(samples)
        rows = samples.rows()
        if not samples.has_rows():
            index = torch.where(samples.valid, samples.label, 0)
        else:  # of exponential times with these rates, the first is distributed as the shares
            index = (rows / torch.empty_like(rows).exponential_()).argmax(-1)
        partner = self.state.draw(index).to(rows.dtype)
        return self.alpha * rows + (1 - self.alpha) * rows.sum(-1, keepdim=True) * partner

    def extra_repr(self) -> str:
        return f'bank_size={self.bank_size}, {super().extra_repr()}'
