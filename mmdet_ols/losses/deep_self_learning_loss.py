"""Deep self-learning: the class whose prototypes an image resembles is a second label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmdet_ols.core import SampleState
from mmdet_ols.core.arguments import check_choice, check_integer, check_number
from mmdet_ols.core.prototypes import SELECTIONS, choose_prototypes, nearest_class
from mmdet_ols.core.random_streams import generator
from mmdet_ols.losses.checks import check_measured
from mmdet_ols.losses.sample_loss import SampleLoss
from mmdet_ols.registry import register_model

_STREAM = 1908  # tells these draws from others of the same seed


class CorrectedLabels(SampleState):
    """The corrected label of each sample, and how often all of them were corrected."""

    given: Tensor
    corrected: Tensor
    corrections: Tensor

    def __init__(self, num_samples: int | None) -> None:
        super().__init__(
            num_samples, measured=dict(given=(), corrected=()), whole=dict(corrections=())
        )

    @property
    def is_known(self) -> bool:
        """Whether labels were corrected."""
        return bool(self.corrections)

    def opinion(self) -> dict[str, Tensor]:
        """The corrected labels; nothing before the first correction."""
        if not self.is_known:
            return {}
        return dict(label=torch.where(self.given >= 0, self.corrected, -1).long())


@register_model
class DeepSelfLearningLoss(SampleLoss):
    r"""Cross entropy against a mixture of the given label and a corrected one.

    .. math:: L = (1 - a)\,\mathrm{CE}(p, y) + a\,\mathrm{CE}(p, \hat y)

    At the end of each epoch from a start on, the deep features of all images are computed. In each
    class, `samples_per_class` of them choose the prototypes: typical samples that differ from each
    other. The corrected label of an image is the class whose prototypes it is most similar to.

    Reference: `Deep Self-Learning From Noisy Labels <https://arxiv.org/abs/1908.02160>`_ (Han et
    al., ICCV 2019); there is no code of the authors.

    Args:
        num_classes: Number of classes.
        num_samples: Number of training samples; None lets `SampleStateHook` find out.
        share: Share of the corrected label from the start on, in [0, 1]; 0 is the plain cross
            entropy.
        correct_from: The first epoch that learns from corrected labels, counted from 0; at least 1.
        samples_per_class: How many samples of a class choose its prototypes; all of them where
            there are fewer.
        prototypes: How many prototypes a class has.
        top_share: Share of all pairs that count as similar, in (0, 1].
        threshold: Largest similarity of a prototype to one of higher density.
        selection: 'density' is the paper's (high density below the threshold);
            'smallest_similarity' that of an unofficial implementation.
        augmented: Whether the features are those of augmented images.
        use_sigmoid: See `SampleLoss`, as for the arguments after it.
        reduction: See `SampleLoss`.
        loss_weight: See `SampleLoss`.
        class_weight: See `SampleLoss`.
        ignore_index: See `SampleLoss`.

    Raises:
        ValueError: An argument, or a label on the CPU, is outside its range.
    """

    state: CorrectedLabels
    has_pass = True

    def __init__(
        self,
        num_classes: int,
        num_samples: int | None = None,
        *,
        share: float = 0.5,
        correct_from: int = 5,
        samples_per_class: int = 1280,
        prototypes: int = 8,
        top_share: float = 0.4,
        threshold: float = 0.95,
        selection: str = 'density',
        augmented: bool = False,
        use_sigmoid: bool = False,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
        class_weight: Sequence[float] | None = None,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__(
            num_classes,
            CorrectedLabels(num_samples),
            use_sigmoid=use_sigmoid,
            reduction=reduction,
            loss_weight=loss_weight,
            class_weight=class_weight,
            ignore_index=ignore_index,
        )
        check_number('share', share, 'in [0, 1]', note=', the share of the corrected label,')
        check_number('top_share', top_share, 'in (0, 1]', note=', the share of similar pairs,')
        check_integer('correct_from', correct_from)
        check_integer('samples_per_class', samples_per_class)
        check_integer('prototypes', prototypes)
        check_choice('selection', selection, SELECTIONS)
        self.share = share
        self.correct_from = correct_from
        self.samples_per_class = samples_per_class
        self.prototypes = prototypes
        self.top_share = top_share
        self.threshold = threshold
        self.selection = selection
        self.augmented = augmented

    def sample_losses(self, logits: Tensor, rows: Tensor, sample_idx: Tensor) -> Tensor:
        if self.epoch >= self.correct_from and self.state.is_known:
            device = self.state.corrected.device
            corrected = self.state.corrected[sample_idx.to(device)].long().to(rows.device)
            own = torch.zeros_like(rows).scatter(1, corrected[:, None], rows.sum(1, keepdim=True))
            rows = (1 - self.share) * rows + self.share * own
        return self.plain_losses(logits, rows)

    def wants_pass(self) -> bool:
        return self.epoch + 1 >= self.correct_from

    def measure(
        self, classifier: Any, inputs: Tensor, data_samples: list[Any]
    ) -> dict[str, Tensor]:
        return dict(feature=classifier.head.pre_logits(classifier.extract_feat(inputs)).flatten(1))

    def take(self, measured: dict[str, Tensor]) -> str:
        """Correct all labels.

        Args:
            measured: `feature` (N, D).

        Raises:
            ValueError: A feature is not finite, or the state does not know the given labels.
        """
        features = measured['feature']
        check_measured(self, 'feature', features)
        given = self.state.given.long().to(features.device)
        if self.num_classes > 1 and not given.any():
            raise ValueError(
                'The state of DeepSelfLearningLoss must know the given labels of all training '
                'samples, but has label 0 for each: call criterion.state.put(given=labels) once, '
                'with -1 for an ignored label, before the training.'
            )
        prototypes = []
        for label in range(self.num_classes):
            members = (given == label).nonzero().squeeze(1).cpu()
            draws = generator(self.seed, _STREAM, self.epoch, label)
            drawn = torch.randperm(len(members), generator=draws)[: self.samples_per_class]
            own = features[members[drawn.sort().values].to(features.device)]
            if len(own):
                chosen = choose_prototypes(
                    own, self.prototypes, self.top_share, self.threshold, self.selection
                )
                own = own[chosen]
            prototypes.append(own)
        corrected = nearest_class(features, prototypes)
        self.state.put(corrected=corrected, corrections=self.state.corrections + 1)
        known = given >= 0
        changed = (corrected != given) & known
        return (
            f'Labels were corrected by {sum(map(len, prototypes))} prototypes: '
            f'{int(changed.sum())} of {int(known.sum())} differ from the given ones.'
        )

    def extra_repr(self) -> str:
        return (
            f'share={self.share}, correct_from={self.correct_from}, '
            f'samples_per_class={self.samples_per_class}, prototypes={self.prototypes}, '
            f'top_share={self.top_share}, threshold={self.threshold}, '
            f'selection={self.selection!r}, augmented={self.augmented}, {super().extra_repr()}'
        )
