"""Bootstrapping: the network's own predictions may correct the labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmdet_ols.core import Samples
from mmdet_ols.core.arguments import check_choice, check_number
from mmdet_ols.losses.classification_loss import ClassificationLoss
from mmdet_ols.registry import register_model

#: mode -> share of the given label, in the paper and in the OLS authors' code
BETAS = dict(soft=0.95, hard=0.8)


@register_model
class BootstrapLoss(ClassificationLoss):
    r"""Cross entropy against a mixture of the label and the network's own prediction.

    .. math::
        t = \beta\,e_y + (1 - \beta)\,p \quad\text{(soft)} \qquad
        t = \beta\,e_y + (1 - \beta)\,e_{\arg\max p} \quad\text{(hard)}

    Reference: `Training Deep Neural Networks on Noisy Labels with Bootstrapping
    <https://arxiv.org/abs/1412.6596>`_. As in the OLS authors' code the gradient of the soft form
    flows through p in the target too, which makes it :math:`\beta\,\mathrm{CE} + (1 - \beta) H(p)`,
    entropy minimisation; `detach_target` stops it there. That code clamps p at 1e-7 before the
    logarithm; here no clamp is needed.

    A background column is a class like the others. A row that does not sum to 1 keeps its sum; one
    without a class costs nothing. Under sigmoid each score is a question of its own with two
    answers, so that p is the score, the arg-max is whether it exceeds 0.5, and negatives are
    bootstrapped as well.

    Args:
        num_classes: See `ClassificationLoss`.
        mode: 'soft' or 'hard'.
        beta: Share of the given label, in [0, 1]; 1 is the plain cross entropy. None means 0.95 for
            'soft' and 0.8 for 'hard'.
        detach_target: Whether the target is a constant to the gradient ('hard' always is).
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

    Example:
        >>> BootstrapLoss(num_classes=3)(torch.zeros(2, 3), torch.tensor([0, 2]))
        tensor(1.0986)
    """

    def __init__(
        self,
        num_classes: int,
        mode: str = 'soft',
        beta: float | None = None,
        *,
        detach_target: bool = False,
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
        check_choice('mode', mode, BETAS)
        beta = BETAS[mode] if beta is None else beta
        check_number('beta', beta, 'in [0, 1]', note=', the share of the given label,')
        self.mode = mode
        self.beta = beta
        self.detach_target = detach_target

    def make_target(self, samples: Samples) -> Tensor:
        rows = samples.rows()
        logits = samples.logits.detach() if self.detach_target else samples.logits
        if self.use_sigmoid:
            own = logits.sigmoid() if self.mode == 'soft' else (logits > 0).to(rows.dtype)
        else:
            if self.mode == 'soft':
                own = logits.softmax(-1)
            else:
                columns = torch.arange(self.num_columns, device=logits.device)
                own = (columns == logits.argmax(-1, keepdim=True)).to(rows.dtype)
            own = own * rows.sum(-1, keepdim=True)
        return self.beta * rows + (1 - self.beta) * own

    def extra_repr(self) -> str:
        return (
            f'mode={self.mode!r}, beta={self.beta}, detach_target={self.detach_target}, '
            f'{super().extra_repr()}'
        )
