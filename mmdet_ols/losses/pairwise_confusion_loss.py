"""Pairwise confusion: the predictions of different images are pulled towards each other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmdet_ols.core import Samples
from mmdet_ols.core.arguments import check_choice, check_number
from mmdet_ols.losses.classification_loss import ClassificationLoss
from mmdet_ols.registry import register_model

#: form -> what is compared by default
INPUTS = dict(ols='logits', released='logits', paper='softmax')


@register_model
class PairwiseConfusionLoss(ClassificationLoss):
    r"""Cross entropy, and the distance between the two halves of a batch.

    With :math:`d_i = f_i - f_{i + B/2}` for the B samples of a batch, f their logits or softmax
    scores, it is :math:`\mathrm{CE} + \lambda R`, where by `form`

    .. math::
        R = \tfrac1B \sum_k \lVert (d_{1,k}, \dots, d_{B/2,k}) \rVert_2 \ \text{(ols)} \quad
        \tfrac1B \sum_i \lVert d_i \rVert_2 \ \text{(released)} \quad
        \tfrac1B \sum_{i:\,y_i \ne y_{i+B/2}} \lVert d_i \rVert_2^2 \ \text{(paper)}

    Reference: `Pairwise Confusion for Fine-Grained Visual Classification
    <https://arxiv.org/abs/1705.08016>`_. 'released' is its authors' code, which compares whatever
    tensor it is given and looks at no label; 'paper' follows the idea of the paper, softmax scores
    of pairs of different classes, but its details are not verified; 'ols' is the code of the OLS
    authors, whose norm runs over the batch, class by class. It is the default because the figures
    in their tables come from it. They train with the plain cross entropy up to epoch 200 of 300 and
    with this loss from then on; `LateLossHook` does that::

        dict(type='LateLossHook', action_epoch=201,
             loss=dict(type='PairwiseConfusionLoss', num_classes=100))

    The last sample of an odd batch has no partner: it is in no pair, but B counts it. A pair of
    which one sample is ignored counts as equal. Every rank pairs its own samples.

    For the reduction 'none' and for weights, R is shared among the samples such that their mean is
    R: all alike ('ols'), or each distance between the two of its pair.

    Args:
        num_classes: See `ClassificationLoss`.
        form: 'ols', 'released' or 'paper'.
        confusion_weight: lambda, not negative; 0 is the plain cross entropy. None means
            0.1 `num_classes`: 10 for CIFAR-100, as the OLS authors have it, and the lower end of
            what the released code recommends.
        inputs: What is compared, 'logits' or 'softmax'. None means softmax scores for 'paper' and
            logits for the others.
        use_sigmoid: Must be False.
        background: Must be False.
        reduction: See `ClassificationLoss`, as for the arguments after it.
        loss_weight: See `ClassificationLoss`.
        class_weight: See `ClassificationLoss`. It weights the cross entropy only.
        ignore_index: See `ClassificationLoss`.
        avg_non_ignore: See `ClassificationLoss`.
        gamma: See `ClassificationLoss`.
        balance: See `ClassificationLoss`.
        quality_beta: See `ClassificationLoss`.
        implementation: See `ClassificationLoss`.

    Raises:
        ValueError: An argument, or a label on the CPU, is outside its range; rows as labels (mixup,
            CutMix) with the form 'paper', for which a sample has one class.

    Example:
        >>> PairwiseConfusionLoss(num_classes=3)(torch.zeros(2, 3), torch.tensor([0, 2]))
        tensor(1.0986)
    """

    samples_are_independent = False

    def __init__(
        self,
        num_classes: int,
        form: str = 'ols',
        confusion_weight: float | None = None,
        *,
        inputs: str | None = None,
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
        if self.use_sigmoid or self.background:
            raise ValueError(
                'PairwiseConfusionLoss compares whole images in pairs, so it has no meaning for '
                f'detection heads, but got use_sigmoid={self.use_sigmoid}, background='
                f'{self.background}: leave these out, or take another loss.'
            )
        check_choice('form', form, INPUTS)
        confusion_weight = 0.1 * num_classes if confusion_weight is None else confusion_weight
        check_number('confusion_weight', confusion_weight, 'at least 0')
        inputs = INPUTS[form] if inputs is None else inputs
        check_choice('inputs', inputs, ('logits', 'softmax'))
        self.form = form
        self.confusion_weight = confusion_weight
        self.inputs = inputs

    def make_target(self, samples: Samples) -> Tensor:
        return samples.rows()

    def total_loss(self, cross_entropy: Tensor, samples: Samples) -> Tensor:
        logits, label = samples.logits, samples.label
        if self.form == 'paper' and samples.has_rows():
            raise ValueError(
                "PairwiseConfusionLoss(form='paper') looks for pairs of different classes, so "
                '`label` must hold class indices, but got rows (as from mixup or CutMix): take '
                "form='ols' or 'released', which look at no label."
            )
        half = len(logits) // 2
        counts = samples.rows().sum(-1) > 0
        paired = counts[:half] & counts[half : 2 * half]
        if self.form == 'paper':
            paired = paired & (label[:half] != label[half : 2 * half])
        compared = logits.softmax(-1) if self.inputs == 'softmax' else logits
        distance = torch.where(paired[:, None], compared[:half] - compared[half : 2 * half], 0)
        # Each sample's share, such that their mean is R.
        if self.form == 'ols':
            share = torch.linalg.vector_norm(distance, dim=0).sum() / max(len(logits), 1)
            share = torch.where(counts, share, 0)
        else:
            if self.form == 'released':
                pair = torch.linalg.vector_norm(distance, dim=1)
            else:
                pair = distance.square().sum(1)
            share = torch.cat([pair, pair, pair.new_zeros(len(logits) % 2)]) / 2
        return cross_entropy + self.confusion_weight * share[:, None]

    def extra_repr(self) -> str:
        return (
            f'form={self.form!r}, confusion_weight={self.confusion_weight}, '
            f'inputs={self.inputs!r}, {super().extra_repr()}'
        )
