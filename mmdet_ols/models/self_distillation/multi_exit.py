"""Be your own teacher (BYOT): classifiers on the early stages of a network learn along."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.logging import MessageHub
from mmpretrain.models.classifiers import ImageClassifier
from torch import Tensor, nn

from mmdet_ols.core import no_teaching
from mmdet_ols.core.arguments import check_choice, check_flag, check_integer, check_number
from mmdet_ols.core.distillation import softened_divergence
from mmdet_ols.models.early_exit import EarlyExit
from mmdet_ols.models.self_distillation.common import loss_weight, pooled
from mmdet_ols.registry import register_model

FEATURE_EXITS = ('all', 'deeper')


@register_model
class MultiExitClassifier(ImageClassifier):
    r"""A classifier whose early stages have exits, which learn along with the final one.

    With the head as final exit f and an exit i after each earlier stage:

    .. math::
        L = w_f\,\ell(p_f) + \sum_i w \left[ (1 - a)\,\ell(p_i)
        + a\,\mathrm{KL}(p_f^T \Vert p_i^T) + \lambda \lVert F_i - F_f \rVert^2 \right]

    where :math:`\ell` is the head's loss, p^T are predictions at the temperature T, and F are
    features before the last linear layer. The final exit's predictions and features are targets
    here, without a gradient. A loss with online soft labels learns from the final exit only, and
    all exits learn from its soft labels; what those contribute to an early exit has a weight of its
    own. The network predicts by its final exit.

    Reference: `Be Your Own Teacher <https://arxiv.org/abs/1905.08094>`_. The defaults are what the
    authors of OLS ran: no distillation (a = 0), no features, :math:`w_f` = 1.5, w = 0.5 and 0.25
    for the soft part, and only the final exit, with weight 1, in the first epoch. Their code for
    four stages does not run as it was released; the third exit has the weights of the others here.

    Args:
        backbone: Config of a backbone with `out_indices`.
        neck: See MMPretrain's `ImageClassifier`.
        head: Config of a head with `in_channels` and `num_classes`.
        exits: For each exit its `stage` (as in `out_indices`), that stage's `channels`, and the
            `stride` of the exit (see `EarlyExit`).
        final_stage: The stage that the head classifies.
        final_weight: w_f, the weight of the head's loss, above 0.
        exit_weight: w, the weight of each early exit, not negative.
        soft_weight: Weight of the soft labels' part in an early exit, in the place of w, if the
            loss has online soft labels.
        distillation: a, the share of the final exit's predictions, in [0, 1].
        temperature: T, above 0.
        temperature_squared: Whether the divergence is multiplied by T^2.
        feature_weight: lambda, not negative (0.03 in the authors' later code).
        feature_exits: Which exits learn the features: 'all', or 'deeper' (not the first one, as in
            that code).
        start_epoch: How many epochs pass before the early exits learn.
        pretrained: See `ImageClassifier`, as for the arguments after it.
        train_cfg: See `ImageClassifier`.
        data_preprocessor: See `ImageClassifier`.
        init_cfg: See `ImageClassifier`.

    Raises:
        ValueError: An argument is outside its range.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict | None = None,
        head: dict | None = None,
        *,
        exits: Sequence[Mapping[str, int]],
        final_stage: int,
        final_weight: float = 1.5,
        exit_weight: float = 0.5,
        soft_weight: float = 0.25,
        distillation: float = 0.0,
        temperature: float = 3.0,
        temperature_squared: bool = False,
        feature_weight: float = 0.0,
        feature_exits: str = 'all',
        start_epoch: int = 1,
        pretrained: str | None = None,
        train_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        self.check_options(
            final_weight=final_weight,
            exit_weight=exit_weight,
            soft_weight=soft_weight,
            distillation=distillation,
            temperature=temperature,
            temperature_squared=temperature_squared,
            feature_weight=feature_weight,
            feature_exits=feature_exits,
            start_epoch=start_epoch,
        )
        backbone = dict(backbone, out_indices=(*(early['stage'] for early in exits), final_stage))
        super().__init__(
            backbone=backbone,
            neck=neck,
            head=head,
            pretrained=pretrained,
            train_cfg=train_cfg,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        self.exits = nn.ModuleList(
            EarlyExit(
                early['channels'], self.head.in_channels, early['stride'], self.head.num_classes
            )
            for early in exits
        )
        self.final_weight = final_weight
        self.exit_weight = exit_weight
        self.soft_weight = soft_weight
        self.distillation = distillation
        self.temperature = temperature
        self.temperature_squared = temperature_squared
        self.feature_weight = feature_weight
        self.feature_exits = feature_exits
        self.start_epoch = start_epoch

    @staticmethod
    def check_options(
        *,
        final_weight: float,
        exit_weight: float,
        soft_weight: float,
        distillation: float,
        temperature: float,
        temperature_squared: bool,
        feature_weight: float,
        feature_exits: str,
        start_epoch: int,
    ) -> None:
        """Raise a ValueError where an option is outside its range."""
        check_number('final_weight', final_weight, 'above 0')
        check_number('temperature', temperature, 'above 0')
        check_number('exit_weight', exit_weight, 'at least 0')
        check_number('soft_weight', soft_weight, 'at least 0')
        check_number('feature_weight', feature_weight, 'at least 0')
        check_number('distillation', distillation, 'in [0, 1]')
        check_flag('temperature_squared', temperature_squared)
        check_choice('feature_exits', feature_exits, FEATURE_EXITS)
        check_integer('start_epoch', start_epoch, least=0)

    def extract_feat(self, inputs: Tensor, stage: str = 'neck') -> Any:
        """As `ImageClassifier.extract_feat`: of the final stage only."""
        check_choice('stage', stage, ('backbone', 'neck', 'pre_logits'))
        maps = self.backbone(inputs)[-1:]
        if stage == 'backbone':
            return maps
        feats = self._after_backbone(maps)
        return feats if stage == 'neck' else self.head.pre_logits(feats)

    def loss(self, inputs: Tensor, data_samples: list[Any]) -> dict[str, Tensor]:
        """The losses of all exits; see `ImageClassifier.loss`."""
        *maps, last = self.backbone(inputs)
        feats = self._after_backbone((last,))
        scores = self.head(feats)
        losses = self.head._get_loss(scores, data_samples)
        outputs = [early(x) for early, x in zip(self.exits, maps)]
        if self._exits_learn():
            losses['loss'] = self.final_weight * losses['loss']
            factor = 1
        else:
            # Not left out, since DDP waits for a gradient of every parameter.
            factor = 0
        target = _targets(data_samples)
        final_features = pooled(feats[-1].detach()) if self.feature_weight else None
        with no_teaching():
            for index, (exit_scores, features) in enumerate(outputs):
                loss = self._exit_loss(
                    index, exit_scores, features, target, scores.detach(), final_features
                )
                losses[f'loss_exit{index}'] = factor * loss
        return losses

    def _exit_loss(
        self,
        index: int,
        scores: Tensor,
        features: Tensor,
        target: Tensor,
        final_scores: Tensor,
        final_features: Tensor | None,
    ) -> Tensor:
        """What an early exit costs."""
        label_loss, weight = self._loss_of_exits()
        value = label_loss(scores, target, avg_factor=len(scores))
        total = (1 - self.distillation) * weight * value
        factor = self.exit_weight * loss_weight(self.head)
        if self.distillation:
            divergence = softened_divergence(scores, final_scores, self.temperature).mean()
            squared = self.temperature**2 if self.temperature_squared else 1
            total = total + factor * self.distillation * squared * divergence
        if final_features is not None and (index or self.feature_exits == 'all'):
            distance = (pooled(features) - final_features).square().sum(-1).mean()
            total = total + factor * self.feature_weight * distance
        return total

    def _loss_of_exits(self) -> tuple[nn.Module, float]:
        """The loss of an early exit, and its weight.

        The head's loss, which may be exchanged in a training; for one with online soft labels a
        copy that shares them and mixes the hard and the soft part by the weights of both.
        """
        loss = self.head.loss_module
        if not getattr(loss, 'has_rolling_state', False) or self.soft_weight == self.exit_weight:
            return loss, self.exit_weight
        hard, soft = self.exit_weight * loss.alpha, self.soft_weight * (1 - loss.alpha)
        loss = copy.copy(loss)  # not of what it holds: the state is the same
        loss.alpha = hard / (hard + soft) if hard + soft else 1.0
        return loss, hard + soft

    def _exits_learn(self) -> bool:
        """Whether the early exits learn yet; outside of MMEngine's runner they do."""
        if self.start_epoch == 0:
            return True
        epoch = MessageHub.get_current_instance().get_info('epoch', self.start_epoch)
        return epoch >= self.start_epoch

    def _after_backbone(self, maps: tuple[Tensor, ...]) -> Any:
        return self.neck(maps) if self.with_neck else maps


def _targets(data_samples: list[Any]) -> Tensor:
    """The labels, or where images were mixed the target rows, as MMPretrain's heads read them."""
    if 'gt_score' in data_samples[0]:
        return torch.stack([sample.gt_score for sample in data_samples])
    return torch.cat([sample.gt_label for sample in data_samples])
