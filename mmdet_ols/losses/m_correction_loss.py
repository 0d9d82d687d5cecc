"""M-correction: how likely a label is wrong follows from the losses of all samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from mmdet_ols.core import SampleState, label_rows
from mmdet_ols.core.arguments import check_choice, check_integer, check_number
from mmdet_ols.core.beta_mixture import BINS, LossScale, fit_losses, look_up
from mmdet_ols.core.rolling_state import world_size
from mmdet_ols.losses.checks import check_measured
from mmdet_ols.losses.sample_loss import SampleLoss
from mmdet_ols.registry import register_model

BOOTSTRAPPING = ('hard', 'soft')
WRONG_BY = ('batch', 'epoch')


class LossRecord(SampleState):
    """What the last pass over the data said: losses, predictions, and what follows from them.

    `mixture` holds alpha, beta and share of both components, `loss_range` the losses that are
    normalised to 0 and 1, and `table` the probability of a wrong label by normalised loss.
    """

    given: Tensor
    loss: Tensor
    prediction: Tensor
    wrong: Tensor
    mixture: Tensor
    loss_range: Tensor
    table: Tensor

    def __init__(self, num_samples: int | None) -> None:
        super().__init__(
            num_samples,
            measured=dict(given=(), loss=(), prediction=(), wrong=()),
            whole=dict(mixture=(3, 2), loss_range=(2,), table=(BINS,)),
        )

    @property
    def is_known(self) -> bool:
        """Whether there was a pass over the data."""
        return bool(self.mixture.any())

    def opinion(self) -> dict[str, Tensor]:
        """The prediction where the label is rather wrong, and how likely it is right."""
        if not self.is_known:
            return {}
        known = self.given >= 0
        label = torch.where(self.wrong > 0.5, self.prediction, self.given)
        return dict(
            label=torch.where(known, label, -1).long(),
            weight=torch.where(known, 1 - self.wrong, torch.nan),
        )


@register_model
class MCorrectionLoss(SampleLoss):
    r"""Cross entropy of mixed images against labels that are corrected where they seem wrong.

    At the end of an epoch, a mixture of two beta distributions is fitted to the losses of all
    training samples; w, how likely a label is wrong, is the probability of the component with
    the higher losses. From a start on, labels are bootstrapped dynamically,
    :math:`t = (1 - w)\,e_y + w\,e_z` with the prediction z for the image as it is, images and their
    targets are mixed in pairs (mixup), and
    :math:`\eta\,\mathrm{KL}(\tfrac1K\,\|\,\bar p)` keeps the mean prediction of a batch from
    settling on a few classes. Before the start, images and given labels are mixed only.

    `MCorrectionClassifier` computes the predictions, mixes the images, and calls this loss with
    rows. A loop without MMEngine does so by `corrected_rows`.

    Reference: `Unsupervised Label Noise Modeling and Loss Correction
    <https://arxiv.org/abs/1904.11238>`_ (Arazo et al., ICML 2019), M-DYR-H and M-DYR-S.

    Args:
        num_classes: Number of classes.
        num_samples: Number of training samples; None lets `SampleStateHook` find out.
        bootstrapping: 'hard' corrects by the predicted class (M-DYR-H), 'soft' by all predicted
            probabilities (M-DYR-S).
        correct_from: The first epoch of bootstrapping, counted from 0; at least 1.
        wrong_by: What w follows from: 'batch' takes the loss of the sample at this moment, as the
            released code does; 'epoch' that of the last pass over the data.
        mixup_alpha: Images are mixed by shares from Beta(alpha, alpha); 0 does not mix.
        prior_weight: The factor eta, not negative.
        em_iterations: How often the mixture is improved.
        augmented: Whether the pass over the data sees augmented images, as in the released code.
        use_sigmoid: See `SampleLoss`, as for the arguments after it.
        reduction: See `SampleLoss`.
        loss_weight: See `SampleLoss`.
        class_weight: See `SampleLoss`.
        ignore_index: See `SampleLoss`.

    Raises:
        ValueError: An argument, or a label on the CPU, is outside its range.
    """

    state: LossRecord
    has_pass = True

    def __init__(
        self,
        num_classes: int,
        num_samples: int | None = None,
        *,
        bootstrapping: str = 'hard',
        correct_from: int = 106,
        wrong_by: str = 'batch',
        mixup_alpha: float = 32.0,
        prior_weight: float = 1.0,
        em_iterations: int = 10,
        augmented: bool = True,
        use_sigmoid: bool = False,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
        class_weight: Sequence[float] | None = None,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__(
            num_classes,
            LossRecord(num_samples),
            use_sigmoid=use_sigmoid,
            reduction=reduction,
            loss_weight=loss_weight,
            class_weight=class_weight,
            ignore_index=ignore_index,
        )
        check_choice('bootstrapping', bootstrapping, BOOTSTRAPPING)
        check_choice('wrong_by', wrong_by, WRONG_BY)
        check_integer('correct_from', correct_from)
        check_integer('em_iterations', em_iterations)
        check_number('mixup_alpha', mixup_alpha, 'at least 0')
        check_number('prior_weight', prior_weight, 'at least 0')
        self.bootstrapping = bootstrapping
        self.correct_from = correct_from
        self.wrong_by = wrong_by
        self.mixup_alpha = mixup_alpha
        self.prior_weight = prior_weight
        self.em_iterations = em_iterations
        self.augmented = augmented

    @property
    def corrects(self) -> bool:
        """Whether labels are corrected in this epoch."""
        return self.epoch >= self.correct_from and self.state.is_known

    @torch.no_grad()
    def corrected_rows(
        self,
        cls_score: Tensor,
        label: Tensor,
        sample_idx: Tensor,
        measured: Tensor | None = None,
    ) -> Tensor:
        """The targets of a batch: the given labels, corrected where that is due.

        Args:
            cls_score: Logits (B, C) of the images as they are, in training mode: what labels are
                corrected to.
            label: Class indices (B,).
            sample_idx: Numbers of the samples, (B,).
            measured: The same logits in eval mode, in which the pass over the data was done: with
                `wrong_by='batch'`, w follows from their losses. None takes `cls_score`.

        Returns:
            Target rows (B, C), float32.
        """
        valid = label != self.ignored_label
        rows = label_rows(label, self.num_classes, valid, torch.float32)
        if not self.corrects:
            return rows
        logits = cls_score.float()
        if self.wrong_by == 'batch':
            low, high = self.state.loss_range
            measured = logits if measured is None else measured.float()
            losses = -(rows * measured.log_softmax(1)).sum(1).to(low.device)
            wrong = look_up(self.state.table, LossScale(low, high), losses)
        else:
            wrong = self.state.wrong[sample_idx.to(self.state.wrong.device)]
        wrong = wrong.to(rows)[:, None]
        if self.bootstrapping == 'soft':
            own = logits.softmax(1)
        else:
            own = torch.zeros_like(rows).scatter(1, logits.argmax(1, keepdim=True), 1.0)
        return (1 - wrong) * rows + wrong * own * rows.sum(1, keepdim=True)

    def sample_losses(self, logits: Tensor, rows: Tensor, sample_idx: Tensor) -> Tensor:
        loss = self.plain_losses(logits, rows)
        if self.corrects and self.prior_weight:
            loss = loss + self.prior_weight * self._prior(logits, rows)
        return loss

    def _prior(self, logits: Tensor, rows: Tensor) -> Tensor:
        """KL of the uniform distribution and the mean prediction of the batch of all processes."""
        counts = rows.sum(1) > 0
        own, number = logits.softmax(1)[counts].sum(0), counts.sum()
        if world_size() > 1:
            # The value is that of all processes, and the gradient that of the own part, of which
            # DDP takes the mean.
            total = torch.cat([own.detach(), number[None].to(own)])
            dist.all_reduce(total)
            own, number = total[:-1] + world_size() * (own - own.detach()), total[-1]
        mean = own / number.clamp(min=1)  # of the labels that count, which may be none
        uniform = 1 / self.num_classes
        prior = (uniform * (math.log(uniform) - mean.clamp(min=1e-12).log())).sum()
        return torch.where(counts, prior, 0)

    def wants_pass(self) -> bool:
        return self.epoch + 1 >= self.correct_from

    def measure(
        self, classifier: Any, inputs: Tensor, data_samples: list[Any]
    ) -> dict[str, Tensor]:
        scores = classifier.head(classifier.extract_feat(inputs)).float()
        label = torch.cat([sample.gt_label for sample in data_samples]).to(scores.device)
        losses = F.cross_entropy(scores, label, reduction='none', ignore_index=self.ignored_label)
        return dict(loss=losses, prediction=scores.argmax(1))

    def take(self, measured: dict[str, Tensor]) -> str:
        """Fit the mixture to the losses of all samples.

        Args:
            measured: `loss` (N,) and `prediction` (N,).

        Raises:
            ValueError: A loss is not finite.
        """
        check_measured(self, 'loss', measured['loss'])
        known = (self.state.given >= 0).cpu()
        losses = measured['loss'].cpu()
        told = fit_losses(losses[known], self.em_iterations)
        wrong = told.wrong_probability(losses.double())
        self.state.put(
            loss=losses,
            prediction=measured['prediction'],
            wrong=wrong,
            mixture=torch.stack(list(told.mixture)),
            loss_range=torch.stack(list(told.scale)),
            table=told.table,
        )
        rather = int((wrong > 0.5)[known].sum())
        means = ' and '.join(f'{mean:.3f}' for mean in told.mixture.means.sort().values.tolist())
        return (
            f'The losses were told apart (normalised means {means}): {rather} of '
            f'{int(known.sum())} labels are rather wrong.'
        )

    def extra_repr(self) -> str:
        return (
            f'bootstrapping={self.bootstrapping!r}, correct_from={self.correct_from}, '
            f'wrong_by={self.wrong_by!r}, mixup_alpha={self.mixup_alpha}, '
            f'prior_weight={self.prior_weight}, em_iterations={self.em_iterations}, '
            f'augmented={self.augmented}, {super().extra_repr()}'
        )
