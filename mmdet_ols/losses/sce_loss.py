"""Symmetric cross entropy."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmdet_ols.core import Samples
from mmdet_ols.core.arguments import check_choice, check_number
from mmdet_ols.losses.classification_loss import ClassificationLoss
from mmdet_ols.registry import register_model

#: How the hard label enters the cross entropy.
LABELS = ('exact', 'clamped')
#: What replaces a label's 0 in its logarithm: ln(1e-4) = -9.21, or -4 to the base 10.
SMALLEST_LABEL = 1e-4


@register_model
class SCELoss(ClassificationLoss):
    r"""Cross entropy, and the reverse cross entropy, of the label under the prediction.

    .. math::
        L = \alpha\,\mathrm{CE}(p, t) - \beta \sum_k p_k \log \tilde t_k, \qquad
        \tilde t = \max(t, 10^{-4})

    which for a hard label is :math:`\alpha\,\mathrm{CE} + 9.21\,\beta\,(1 - p_y)`.

    Reference: `Symmetric Cross Entropy for Robust Learning with Noisy Labels
    <https://arxiv.org/abs/1908.06112>`_. Its released code and the OLS authors' code use
    `alpha=6.0, beta=0.1` for CIFAR-100, which is the default here, and `alpha=0.1, beta=1.0` for
    CIFAR-10; the OLS authors use the former for all other data. Their code also puts the clamped
    label into the cross entropy, which smooths it by
    :math:`10^{-4}\alpha\sum_{k \ne y}(-\log p_k)`; `label='clamped'` does the same. The default
    'exact' is the original's, since that smoothing is not part of the method.

    A background column is a class like the others. A row that does not sum to 1 counts by its sum,
    and one without a class costs nothing. Under sigmoid each score is a question of its own with
    two answers, and the reverse term a sum over both.

    Args:
        num_classes: See `ClassificationLoss`.
        alpha: Weight of the cross entropy, not negative. With 1, and 0 for `beta`, it is plain.
        beta: Weight of the reverse cross entropy, not negative.
        label: How the label enters the cross entropy: 'exact', or 'clamped' as in the OLS authors'
            code (softmax only).
        use_sigmoid: See `ClassificationLoss`, as for the arguments after it.
        background: See `ClassificationLoss`.
        reduction: See `ClassificationLoss`.
        loss_weight: See `ClassificationLoss`.
        class_weight: See `ClassificationLoss`. It weights the cross entropy only.
        ignore_index: See `ClassificationLoss`.
        avg_non_ignore: See `ClassificationLoss`.
        gamma: See `ClassificationLoss`.
        balance: See `ClassificationLoss`.
        quality_beta: See `ClassificationLoss`.
        implementation: See `ClassificationLoss`.

    Raises:
        ValueError: An argument, or a label on the CPU, is outside its range.

    Example:
        >>> SCELoss(num_classes=3)(torch.zeros(2, 3), torch.tensor([0, 2]))
        tensor(7.2057)
    """

    def __init__(
        self,
        num_classes: int,
        alpha: float = 6.0,
        beta: float = 0.1,
        *,
        label: str = 'exact',
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
        super().__init__(
            num_classes,
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
        check_number('alpha', alpha, 'at least 0')
        check_number('beta', beta, 'at least 0')
        check_choice('label', label, LABELS)
        if label == 'clamped' and self.use_sigmoid:
            raise ValueError(
                "`label` must be 'exact' with use_sigmoid=True, but got 'clamped': that is a slip "
                "of the OLS authors' softmax code, which has no counterpart for single scores."
            )
        self.alpha = alpha
        self.beta = beta
        self.label = label

    def make_target(self, samples: Samples) -> Tensor:
        rows = samples.rows()
        if self.label == 'clamped':
            rows = rows.maximum(SMALLEST_LABEL * rows.sum(-1, keepdim=True))
        return rows

    def total_loss(self, cross_entropy: Tensor, samples: Samples) -> Tensor:
        rows = samples.rows()
        logits = samples.logits
        if self.use_sigmoid:
            yes, no = (answer.clamp(min=SMALLEST_LABEL).log() for answer in (rows, 1 - rows))
            reverse = -(logits.sigmoid() * yes + (-logits).sigmoid() * no)
        else:
            total = rows.sum(-1, keepdim=True)
            shares = rows / total.clamp(min=torch.finfo(rows.dtype).tiny)
            log_label = shares.clamp(min=SMALLEST_LABEL).log()
            reverse = -total * (logits.softmax(-1) * log_label).sum(-1, keepdim=True)
        return self.alpha * cross_entropy + self.beta * reverse

    def extra_repr(self) -> str:
        return f'alpha={self.alpha}, beta={self.beta}, label={self.label!r}, {super().extra_repr()}'
