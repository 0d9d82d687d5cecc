"""DisturbLabel: some of the labels are replaced at random, again in every step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from mmdet_ols.core import Samples
from mmdet_ols.core.arguments import check_number
from mmdet_ols.core.rolling_state import world_size
from mmdet_ols.losses.classification_loss import ClassificationLoss
from mmdet_ols.registry import register_model


@register_model
class DisturbLabelLoss(ClassificationLoss):
    r"""Cross entropy against labels of which a share is drawn uniformly from all classes.

    .. math:: P(\tilde y = y) = 1 - \frac{K - 1}{K} a, \qquad P(\tilde y = k) = \frac{a}{K}

    for every other class k, drawn each time a sample is visited, with PyTorch's random numbers, and
    in several processes for each of them.

    Reference: `DisturbLabel <https://arxiv.org/abs/1605.00055>`_. As in the OLS authors' code, a is
    0.1 by default. Their code also disturbs the labels in validation; here `eval()` gives the plain
    cross entropy.

    A mixed row (mixup, CutMix) is replaced as a whole. Samples without a class and samples of the
    background keep their labels, and the background is never drawn.

    Args:
        num_classes: See `ClassificationLoss`.
        rate: a, the share of samples whose label is redrawn, in [0, 1]; 0 is the plain cross
            entropy. The draw may hit the same class again.
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
        >>> DisturbLabelLoss(num_classes=3)(torch.zeros(2, 3), torch.tensor([0, 2]))
        tensor(1.0986)
    """

    def __init__(
        self,
        num_classes: int,
        rate: float = 0.1,
        *,
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
        note = ', the share of labels that are redrawn,'
        check_number('rate', rate, 'in [0, 1]', note, remedy='10 % are 0.1')
        self.rate = rate

    def make_target(self, samples: Samples) -> Tensor:
        rows = samples.rows()
        if not self.training:
            return rows
        # The processes of a training may have one seed (MMEngine's have): each draws for all of
        # them and takes its own part, or the same places of all batches would be disturbed alike.
        shape, device = (world_size(), len(rows), 1), rows.device
        own = dist.get_rank() if shape[0] > 1 else 0
        drawn = torch.randint(self.num_classes, shape, device=device)[own]
        disturbed = torch.rand(shape, dtype=rows.dtype, device=device)[own] < self.rate
        total = rows[:, : self.num_classes].sum(-1, keepdim=True)
        other = torch.zeros_like(rows).scatter(1, drawn, total)
        if self.background:
            other = torch.cat([other[:, :-1], rows[:, -1:]], 1)
        return torch.where(disturbed, other, rows)

    def extra_repr(self) -> str:
        return f'rate={self.rate}, {super().extra_repr()}'
