"""PENCIL: the labels are parameters too, and learn from the network that learns from them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdet_ols.core import SampleState
from mmdet_ols.core.arguments import check_choice, check_number
from mmdet_ols.core.rolling_state import world_size
from mmdet_ols.losses.sample_loss import SampleLoss
from mmdet_ols.registry import register_model

COMPATIBILITIES = ('released', 'paper')


class LabelLogits(SampleState):
    """The label distribution of each sample, as logits: those of its given label and a change.

    Args:
        num_classes: Number of classes.
        num_samples: Number of training samples; None where it is not known yet.
        init_scale: The logit of the given label at the start; those of the others are 0.
    """

    given: Tensor
    logits: Tensor

    def __init__(self, num_classes: int, num_samples: int | None, init_scale: float) -> None:
        super().__init__(num_samples, measured=dict(given=()), adjusted=dict(logits=(num_classes,)))
        self.num_classes = num_classes
        self.init_scale = init_scale

    def opinion(self) -> dict[str, Tensor]:
        """The largest entry of each distribution, and how much of it the given label has."""
        given = self.given.long()
        known = given >= 0
        start = self.init_scale * F.one_hot(given.clamp(min=0), self.num_classes)
        shares = (start + self.logits).softmax(1)
        label = torch.where(known, shares.argmax(1), -1)
        weight = shares.gather(1, given.clamp(min=0)[:, None]).squeeze(1)
        return dict(label=label, weight=torch.where(known, weight, torch.nan))


@register_model
class PencilLoss(SampleLoss):
    r"""Cross entropy at first, then the distance to label distributions that are learned as well.

    Each sample has a distribution :math:`y^d = \mathrm{softmax}(\tilde y)`, which starts at
    :math:`\tilde y = 10\,e_y`. In the first stage they are not used. In the second,

    .. math::
        L = \tfrac1K\,\mathrm{KL}(p\,\|\,y^d) + a\,\mathrm{CE}(y^d, y) + \tfrac bK\,H(p),
        \qquad \tilde y \leftarrow \tilde y - \lambda\,\partial L/\partial\tilde y

    trains network and distributions together. In the third stage the distributions stay as they
    are, and the network learns from the first term.

    Reference: `Probabilistic End-to-end Noise Correction for Learning with Noisy Labels
    <https://arxiv.org/abs/1903.07788>`_ (Yi and Wu, CVPR 2019). The gradient is that of the mean
    over the batch of all processes, so `label_lr` belongs to a batch size (128 in the original).

    Args:
        num_classes: Number of classes.
        num_samples: Number of training samples; None lets `SampleStateHook` find out.
        correct_from: The epoch that the second stage begins with, counted from 0.
        correct_until: The epoch that the third stage begins with.
        compatibility_weight: The factor a, not negative.
        entropy_weight: The factor b, not negative.
        label_lr: The step size of the distributions, above 0.
        init_scale: The logit of the given label at the start, above 0.
        compatibility: What holds the distributions at the given labels. 'paper' is the cross
            entropy above; 'released' is that of the authors' code, which takes the probabilities
            for logits and softmaxes them again, so that its pull is weaker, the more so the further
            a distribution has moved away. The default is what the published step sizes were
            chosen for.
        use_sigmoid: See `SampleLoss`, as for the arguments after it.
        reduction: See `SampleLoss`.
        loss_weight: See `SampleLoss`.
        class_weight: Must be None: the loss compares distributions.
        ignore_index: See `SampleLoss`.

    Raises:
        ValueError: An argument, or a label on the CPU, is outside its range.

    Example:
        >>> criterion = PencilLoss(num_classes=2, num_samples=4)
        >>> criterion.begin_epoch(70)
        >>> scores = torch.tensor([[3.0, 0.0]], requires_grad=True)
        >>> loss = criterion(scores, torch.tensor([1]), sample_idx=torch.tensor([2]))
        >>> criterion.state.now('logits', torch.tensor([2])).round()
        tensor([[ 286., -286.]])
    """

    state: LabelLogits

    def __init__(
        self,
        num_classes: int,
        num_samples: int | None = None,
        *,
        correct_from: int = 70,
        correct_until: int = 200,
        compatibility_weight: float = 0.4,
        entropy_weight: float = 0.1,
        label_lr: float = 600.0,
        init_scale: float = 10.0,
        compatibility: str = 'released',
        use_sigmoid: bool = False,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
        class_weight: Sequence[float] | None = None,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__(
            num_classes,
            LabelLogits(num_classes, num_samples, init_scale),
            use_sigmoid=use_sigmoid,
            reduction=reduction,
            loss_weight=loss_weight,
            class_weight=class_weight,
            ignore_index=ignore_index,
        )
        if class_weight is not None:
            raise ValueError(
                'PencilLoss compares distributions, which have no weights of single classes, but '
                f'got class_weight={class_weight!r}: leave it out.'
            )
        if not 0 <= correct_from < correct_until:
            raise ValueError(
                '`correct_from` and `correct_until` must be epochs with 0 <= correct_from < '
                f'correct_until, but got {correct_from!r} and {correct_until!r}.'
            )
        check_number('compatibility_weight', compatibility_weight, 'at least 0')
        check_number('entropy_weight', entropy_weight, 'at least 0')
        check_number('label_lr', label_lr, 'above 0')
        check_number('init_scale', init_scale, 'above 0')
        check_choice('compatibility', compatibility, COMPATIBILITIES)
        self.correct_from, self.correct_until = correct_from, correct_until
        self.compatibility_weight = compatibility_weight
        self.entropy_weight = entropy_weight
        self.label_lr = label_lr
        self.init_scale = init_scale
        self.compatibility = compatibility

    @property
    def stage(self) -> int:
        """1: the given labels are learned; 2: they are corrected; 3: the corrected are learned."""
        if self.epoch < self.correct_from:
            return 1
        return 2 if self.epoch < self.correct_until else 3

    def sample_losses(self, logits: Tensor, rows: Tensor, sample_idx: Tensor) -> Tensor:
        if self.stage == 1:
            return self.plain_losses(logits, rows)
        counts = rows.sum(1)
        # Autocast would compute the exponentials in half precision.
        with torch.autocast(logits.device.type, enabled=False):
            own = self.init_scale * rows + self.state.now('logits', sample_idx).to(rows)
            log_label, log_pred = own.log_softmax(1), logits.log_softmax(1)
            pred = log_pred.exp()
            loss = (pred * (log_pred - log_label)).sum(1) / self.num_classes
            if self.stage == 2:
                loss = loss + self.compatibility_weight * self._compatibility(log_label, rows)
                loss = loss - self.entropy_weight * (pred * log_pred).sum(1) / self.num_classes
                if self.learns:
                    self._correct(log_label.exp(), pred.detach(), rows, sample_idx)
        return loss * counts

    def _compatibility(self, log_label: Tensor, rows: Tensor) -> Tensor:
        log_taken = log_label
        if self.compatibility == 'released':
            log_taken = log_label.exp().log_softmax(1)
        return -(rows * log_taken).sum(1)

    def _correct(self, label: Tensor, pred: Tensor, rows: Tensor, sample_idx: Tensor) -> None:
        """Take a step of gradient descent with the distributions of a batch."""
        gradient = (label - pred) / self.num_classes
        if self.compatibility == 'paper':
            pull = label * rows.sum(1, keepdim=True) - rows
        else:  # through both softmaxes
            outer = label.softmax(1) * rows.sum(1, keepdim=True) - rows
            pull = label * (outer - (label * outer).sum(1, keepdim=True))
        gradient = (gradient + self.compatibility_weight * pull) * rows.sum(1, keepdim=True)
        batch_size = len(rows) * world_size()
        self.state.adjust(sample_idx, logits=-self.label_lr * gradient / batch_size)

    def extra_repr(self) -> str:
        return (
            f'correct_from={self.correct_from}, correct_until={self.correct_until}, '
            f'compatibility_weight={self.compatibility_weight}, '
            f'entropy_weight={self.entropy_weight}, label_lr={self.label_lr}, '
            f'init_scale={self.init_scale}, compatibility={self.compatibility!r}, '
            f'{super().extra_repr()}'
        )
