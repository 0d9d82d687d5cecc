"""Teacher-free knowledge distillation (Tf-KD_self): a network learns from its own earlier self."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Callable

import torch
from mmengine.runner.checkpoint import CheckpointLoader
from mmpretrain.models.classifiers import ImageClassifier
from torch import Tensor, nn

from mmdet_ols.core.arguments import check_choice, check_number
from mmdet_ols.core.distillation import softened_divergence
from mmdet_ols.models.self_distillation.common import loss_weight
from mmdet_ols.registry import register_model

#: form -> what the sum over the classes is multiplied by where no multiplier is given. In the
#: released form a multiplier is divided by the number of classes, and the original's 50 by 100.
DEFAULT_FACTORS = dict(released=50 / 100, fair=1.0)
#: What a head keeps that its predictions do not need.
LOSS = 'head.loss_module.'


@register_model
class SelfTaughtClassifier(ImageClassifier):
    r"""A classifier that learns from a trained network of the same architecture.

    .. math:: L = (1 - a)\,\ell(p) + a\,m\,T^2\,\mathrm{KL}(p_t^T \Vert p^T)

    where :math:`\ell` is the head's loss and p_t what the teacher predicts for the same images. In
    the form 'released' the divergence is also divided by the number of classes.

    The teacher is loaded by `init_weights`, which MMEngine's runner calls when a training starts;
    a test needs none. It is frozen and in eval mode, is on the device of this network, and is no
    part of it otherwise: not of its parameters, its state dict, its average (EMA), nor of what DDP
    synchronises.

    Reference: `Revisiting Knowledge Distillation via Label Smoothing Regularization
    <https://arxiv.org/abs/1909.11723>`_, Tf-KD_self, as in its released code, whose mean runs over
    samples and classes; m undoes that in part. The defaults are its ResNet-18 on CIFAR-100.

    Args:
        backbone: See MMPretrain's `ImageClassifier`.
        neck: See `ImageClassifier`.
        head: See `ImageClassifier`.
        teacher: The teacher's checkpoint.
        alpha: a, the share of the teacher, in [0, 1].
        temperature: T, above 0.
        multiplier: m, not negative. None means 1 in the form 'fair', and half the number of classes
            in the form 'released': the original's 50 for 100 classes, which would make the teacher
            count ten times as much with 10 classes.
        form: 'released' (mean over samples and classes) or 'fair' (over samples).
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
        teacher: str | None = None,
        alpha: float = 0.95,
        temperature: float = 6.0,
        multiplier: float | None = None,
        form: str = 'released',
        pretrained: str | None = None,
        train_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        self.check_options(alpha=alpha, temperature=temperature, multiplier=multiplier, form=form)
        super().__init__(
            backbone=backbone,
            neck=neck,
            head=head,
            pretrained=pretrained,
            train_cfg=train_cfg,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        self.teacher = teacher
        self.alpha = alpha
        self.temperature = temperature
        self.multiplier = multiplier
        self.form = form
        self._beside = _Beside()

    @staticmethod
    def check_options(
        *, alpha: float, temperature: float, multiplier: float | None, form: str
    ) -> None:
        """Raise a ValueError where an option is outside its range."""
        check_number('alpha', alpha, 'in [0, 1]')
        check_number('temperature', temperature, 'above 0')
        check_number('multiplier', multiplier, 'at least 0', optional=True)
        check_choice('form', form, DEFAULT_FACTORS)

    def init_weights(self) -> None:
        """Initialise the network as configured, and load the teacher if one is named.

        Strategies of MMEngine's FlexibleRunner call it for tests as well, which need no teacher.
        """
        super().init_weights()
        if self.teacher is not None:
            self.load_teacher()

    def load_teacher(self) -> None:
        """Load the teacher's checkpoint.

        Raises:
            FileNotFoundError: There is no such checkpoint.
            ValueError: None is named, or it is of another network.
        """
        if not self.teacher:
            raise ValueError(
                '`teacher` must be the checkpoint of a trained network of the same architecture, '
                f'but got {self.teacher!r}: --method tfkd_self:teacher=FILE.'
            )
        if '://' not in self.teacher and not Path(self.teacher).is_file():
            raise FileNotFoundError(f'There is no checkpoint file {self.teacher}.')
        checkpoint = CheckpointLoader.load_checkpoint(self.teacher, map_location='cpu')
        parts = dict(backbone=self.backbone, neck=self.neck, head=self.head)
        network = nn.ModuleDict({name: part for name, part in parts.items() if part is not None})
        network = copy.deepcopy(network)
        network['head'].loss_module = nn.Identity()
        state = {
            name: value
            for name, value in checkpoint.get('state_dict', checkpoint).items()
            if name.partition('.')[0] in network and not name.startswith(LOSS)
        }
        _check_match(network.state_dict(), state, self.teacher)
        network.load_state_dict(state)
        self._beside.network = network.eval().requires_grad_(False)

    def loss(self, inputs: Tensor, data_samples: list[Any]) -> dict[str, Tensor]:
        """The losses against the labels and against the teacher; see `ImageClassifier.loss`.

        Raises:
            RuntimeError: The teacher was not loaded.
        """
        scores = self.head(self.extract_feat(inputs))
        losses = self.head._get_loss(scores, data_samples)
        losses['loss'] = (1 - self.alpha) * losses['loss']
        divergence = softened_divergence(scores, self._teach(inputs), self.temperature).mean()
        factor = self.alpha * self._factor(scores.shape[1]) * self.temperature**2
        losses['loss_distillation'] = factor * loss_weight(self.head) * divergence
        return losses

    def _factor(self, classes: int) -> float:
        """What the divergence, a sum over the classes, is multiplied by."""
        if self.multiplier is None:
            return DEFAULT_FACTORS[self.form]
        return self.multiplier / (classes if self.form == 'released' else 1)

    @torch.no_grad()
    def _teach(self, inputs: Tensor) -> Tensor:
        """The teacher's scores."""
        network = self._beside.network
        if network is None:
            raise RuntimeError(
                f'SelfTaughtClassifier needs its teacher, {self.teacher!r}, in training: name the '
                'checkpoint, and call init_weights(), as a training of MMEngine does.'
            )
        feats = network['backbone'](inputs)
        if 'neck' in network:
            feats = network['neck'](feats)
        return network['head'](feats)

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any, **kwargs: Any) -> nn.Module:
        """Move the teacher along: `to()`, `cuda()`, `float()` and their kin all come here."""
        super()._apply(fn, *args, **kwargs)
        if self._beside.network is not None:
            self._beside.network._apply(fn, *args, **kwargs)
        return self


class _Beside:
    """Holds a network that is no part of the one that it belongs to; copies of that share it."""

    def __init__(self, network: nn.ModuleDict | None = None) -> None:
        self.network = network

    def __deepcopy__(self, memo: dict[int, Any]) -> _Beside:
        return _Beside(self.network)


def _check_match(own: dict[str, Tensor], loaded: dict[str, Tensor], path: str) -> None:
    """Raise a ValueError unless a checkpoint holds exactly the weights of a network."""
    wrong = [f'{name} is missing' for name in own if name not in loaded]
    wrong += [f'{name} is not in the network' for name in loaded if name not in own]
    wrong += [
        f'{name} is {tuple(value.shape)}, not {tuple(own[name].shape)}'
        for name, value in loaded.items()
        if name in own and value.shape != own[name].shape
    ]
    if wrong:
        more = f', and {len(wrong) - 3} more' if len(wrong) > 3 else ''
        raise ValueError(
            '`teacher` must be a checkpoint of a network of the same architecture, but in '
            f'{path} {", ".join(wrong[:3])}{more}: name one that was trained from the same config.'
        )
