"""Data-distortion guided self-distillation (DDGSD): two views of an image predict each other."""

from __future__ import annotations

from typing import Any

from mmpretrain.models.classifiers import ImageClassifier
from torch import Tensor

from mmdet_ols.core.arguments import check_choice, check_flag, check_number
from mmdet_ols.core.distillation import softened_divergence
from mmdet_ols.models.self_distillation.common import loss_weight, pooled
from mmdet_ols.registry import register_model

VIEWS = ('mean', 'sum')
OVER_CLASSES = ('sum', 'mean')


@register_model
class TwoViewClassifier(ImageClassifier):
    r"""A classifier that is trained on two views of each image, whose predictions are to agree.

    A batch holds the first views of B images, and then the second views of the same images, as
    `TwoViewDataset` gives them. With predictions p and features f of the views a and b

    .. math::
        L = \tfrac12 [\ell(p_a) + \ell(p_b)] + \tfrac\lambda2
        [\mathrm{KL}(p_a^T \Vert p_b^T) + \mathrm{KL}(p_b^T \Vert p_a^T)]
        + \mu \lVert \bar f_a - \bar f_b \rVert^2

    where :math:`\ell` is the head's loss, p^T are predictions at the temperature T, and the bars
    are means over the batch of the pooled features.

    Reference: Xu and Liu, Data-Distortion Guided Self-Distillation for Deep Neural Networks, AAAI
    2019. The paper could not be read for this, and the authors of OLS released no code: lambda, T
    and mu are those of a re-implementation, and the rest are choices. The authors of OLS leave the
    last term out, so mu is 0 here (5e-4 in the re-implementation).

    Args:
        backbone: See MMPretrain's `ImageClassifier`.
        neck: See `ImageClassifier`.
        head: See `ImageClassifier`.
        kl_weight: lambda, not negative.
        temperature: T, above 0 (another library takes 4).
        detach_target: Whether the view that is learned from gets no gradient of the divergence.
        over_classes: 'sum' for the divergence itself, or 'mean', which divides it by the number of
            classes, as the re-implementation does.
        views: 'mean' as above, or 'sum', without the factors 1/2.
        mmd_weight: mu, not negative.
        pretrained: See `ImageClassifier`, as for the arguments after it.
        train_cfg: See `ImageClassifier`.
        data_preprocessor: See `ImageClassifier`.
        init_cfg: See `ImageClassifier`.

    Raises:
        ValueError: An argument is outside its range; in training, a batch is not made of two views.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict | None = None,
        head: dict | None = None,
        *,
        kl_weight: float = 1.0,
        temperature: float = 3.0,
        detach_target: bool = True,
        over_classes: str = 'sum',
        views: str = 'mean',
        mmd_weight: float = 0.0,
        pretrained: str | None = None,
        train_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        self.check_options(
            kl_weight=kl_weight,
            temperature=temperature,
            detach_target=detach_target,
            over_classes=over_classes,
            views=views,
            mmd_weight=mmd_weight,
        )
        super().__init__(
            backbone=backbone,
            neck=neck,
            head=head,
            pretrained=pretrained,
            train_cfg=train_cfg,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        self.kl_weight = kl_weight
        self.temperature = temperature
        self.detach_target = detach_target
        self.over_classes = over_classes
        self.views = views
        self.mmd_weight = mmd_weight

    @staticmethod
    def check_options(
        *,
        kl_weight: float,
        temperature: float,
        detach_target: bool,
        over_classes: str,
        views: str,
        mmd_weight: float,
    ) -> None:
        """Raise a ValueError where an option is outside its range."""
        check_number('kl_weight', kl_weight, 'at least 0')
        check_number('temperature', temperature, 'above 0')
        check_flag('detach_target', detach_target)
        check_choice('over_classes', over_classes, OVER_CLASSES)
        check_choice('views', views, VIEWS)
        check_number('mmd_weight', mmd_weight, 'at least 0')

    def loss(self, inputs: Tensor, data_samples: list[Any]) -> dict[str, Tensor]:
        """The losses of a batch of first and second views; see `ImageClassifier.loss`."""
        _check_views(data_samples)
        feats = self.extract_feat(inputs)
        scores = self.head(feats)
        losses = self.head._get_loss(scores, data_samples)  # the mean over both views
        factor = 2 if self.views == 'sum' else 1
        losses['loss'] = factor * losses['loss']
        added = loss_weight(self.head)
        if self.kl_weight:
            divergence = self._divergence(*scores.chunk(2))
            losses['loss_kl'] = factor * added * self.kl_weight * divergence
        if self.mmd_weight:
            first, second = pooled(feats[-1]).chunk(2)
            distance = (first.mean(0) - second.mean(0)).square().sum()
            losses['loss_mmd'] = added * self.mmd_weight * distance
        return losses

    def _divergence(self, first: Tensor, second: Tensor) -> Tensor:
        """Half the sum of the divergences in both directions, its mean over the images."""
        values = []
        for scores, target in ((second, first), (first, second)):
            target = target.detach() if self.detach_target else target
            values.append(softened_divergence(scores, target, self.temperature).mean())
        total = (values[0] + values[1]) / 2
        return total / first.shape[1] if self.over_classes == 'mean' else total


def _check_views(data_samples: list[Any]) -> None:
    """Raise a ValueError unless the second half of a batch shows the images of the first."""
    half, rest = divmod(len(data_samples), 2)
    numbers = [sample.get('sample_idx') for sample in data_samples]
    if rest or numbers[:half] != numbers[half:]:
        raise ValueError(
            'A batch of TwoViewClassifier must hold the first views of its images and then their '
            f'second views, but the {len(numbers)} samples of this one are not in such pairs: let '
            "dict(type='TwoViewDataset', dataset=...) be the outermost data set of the loader."
        )
