"""Teacher-free knowledge distillation, the form with a hand-made teacher."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from mmdet_ols.core import Samples
from mmdet_ols.core.arguments import check_choice, check_number
from mmdet_ols.losses.classification_loss import ClassificationLoss
from mmdet_ols.registry import register_model

FORMS = ('released', 'fair')


@register_model
class TfKDRegLoss(ClassificationLoss):
    r"""Cross entropy, and the divergence from a virtual teacher that is nearly always right.

    .. math::
        L = (1 - a)\,\mathrm{CE}(p, y) + a\,m\,\mathrm{KL}(v \Vert p), \qquad
        v = \mathrm{softmax}(u / T)

    where u gives 0.99 to the class and spreads the rest over the others. In the form 'released' the
    divergence is also divided by the number of classes.

    Reference: `Revisiting Knowledge Distillation via Label Smoothing Regularization
    <https://arxiv.org/abs/1909.11723>`_, Tf-KD_reg, as in its released code: the softmax is taken
    of u, which are probabilities already, so that v is almost uniform (1.025 to 1 at T = 40); the
    student is not softened; the mean runs over samples and classes, which m undoes in part.
    The OLS authors ran it with `alpha=0.95, multiplier=1` and T = 40 (MobileNetV2) or 6 (ResNet-50)
    for their fine-grained table. These are the defaults, so that the table can be matched; but the
    loss is then about 18 times smaller than a cross entropy over 200 classes, at the same learning
    rate. `form='fair'` sums over the classes: with an almost uniform v it is label smoothing by a,
    which is then to be small (0.1 rather than 0.95).

    A background column is a class like the others. Mixed rows have mixed teachers, a row that does
    not sum to 1 counts by its sum, and one without a class costs nothing. `class_weight` weighs
    label and teacher alike, column by column.

    Args:
        num_classes: See `ClassificationLoss`.
        alpha: a, the share of the teacher, in [0, 1]; 0 is the plain cross entropy.
        temperature: T, above 0.
        multiplier: m, not negative (1 to 100 in the original).
        form: 'released' (mean over samples and classes) or 'fair' (over samples).
        correct_prob: What u gives to the class, in [0, 1].
        use_sigmoid: Must be False.
        background: See `ClassificationLoss`, as for the arguments after it.
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
        >>> import torch
        >>> TfKDRegLoss(num_classes=3)(torch.zeros(2, 3), torch.tensor([0, 2]))
        tensor(0.0550)
    """

    def __init__(
        self,
        num_classes: int,
        alpha: float = 0.95,
        temperature: float = 40.0,
        multiplier: float = 1.0,
        form: str = 'released',
        *,
        correct_prob: float = 0.99,
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
        if self.use_sigmoid:
            raise ValueError(
                'TfKDRegLoss is a divergence between distributions over the classes, which sigmoid '
                'scores are not, but got use_sigmoid=True: take LSLoss, which smooths a label as '
                'evenly as this teacher does.'
            )
        check_number('alpha', alpha, 'in [0, 1]')
        check_number('correct_prob', correct_prob, 'in [0, 1]')
        check_number('temperature', temperature, 'above 0')
        check_number('multiplier', multiplier, 'at least 0')
        check_choice('form', form, FORMS)
        self.alpha = alpha
        self.temperature = temperature
        self.multiplier = multiplier
        self.form = form
        self.correct_prob = correct_prob

        others = self.num_columns - 1
        right, wrong = correct_prob, (1 - correct_prob) / others if others else 0.0
        # Less the larger one, whose exponential might be too large at a low temperature.
        largest = max(right, wrong) if others else right
        right, wrong = (math.exp((u - largest) / temperature) for u in (right, wrong))
        total = right + others * wrong
        #: What the teacher gives to the class, and to each other.
        self.teacher = right / total, wrong / total
        counted = zip((1, others), self.teacher)
        self.teacher_entropy = -sum(n * p * math.log(p) for n, p in counted if p)

    @property
    def teacher_weight(self) -> float:
        classes = self.num_columns if self.form == 'released' else 1
        return self.alpha * self.multiplier / classes

    def make_target(self, samples: Samples) -> Tensor:
        rows = samples.rows()
        right, wrong = self.teacher
        teacher = (right - wrong) * rows + wrong * rows.sum(-1, keepdim=True)
        return (1 - self.alpha) * rows + self.teacher_weight * teacher

    def total_loss(self, cross_entropy: Tensor, samples: Samples) -> Tensor:
        # The divergence is a cross entropy less the teacher's entropy, which trains nothing.
        entropy = self.teacher_weight * self.teacher_entropy
        return cross_entropy - entropy * samples.rows().sum(-1, keepdim=True)

    def extra_repr(self) -> str:
        return (
            f'alpha={self.alpha}, temperature={self.temperature}, multiplier={self.multiplier}, '
            f'form={self.form!r}, correct_prob={self.correct_prob}, {super().extra_repr()}'
        )
