"""The settings of a classification loss, read from the hosts' losses and ours, and written back.

The settings of a loss are the same in all of them; only their names differ. Whatever cannot be
expressed is refused and never dropped.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmdet_ols.config_tree import package_of
from mmdet_ols.losses.classification_loss import ClassificationLoss
from mmdet_ols.methods.heads import Refusal

#: The arguments of our losses that stand for the settings of the host's loss.
HOST_SETTINGS = (
    'type',
    '_scope_',
    'num_classes',
    'use_sigmoid',
    'background',
    'reduction',
    'loss_weight',
    'class_weight',
    'bg_cls_weight',
    'ignore_index',
    'avg_non_ignore',
    'gamma',
    'balance',
    'quality_beta',
)

_ITS_LOSS = 'the loss {} is what the model is about'
_KEEP = 'Give the head CrossEntropyLoss or FocalLoss, or take the base config.'
#: Losses that a head may have and that cannot be replaced, by class name.
REFUSED_LOSSES: Mapping[str, Refusal] = {
    'GaussianFocalLoss': Refusal('GaussianFocalLoss learns heat maps and not labels', _KEEP),
    'DistributionFocalLoss': Refusal('DistributionFocalLoss learns box sides, not classes', _KEEP),
    'VarifocalLoss': Refusal(
        _ITS_LOSS.format('VarifocalLoss'),
        'Give the head CrossEntropyLoss with use_sigmoid=True and the `reduction` of that loss, or '
        'take another detector.',
    ),
    'GHMC': Refusal(_ITS_LOSS.format('GHMC, which weighs samples by their gradients,'), _KEEP),
    'SeesawLoss': Refusal(
        _ITS_LOSS.format('SeesawLoss, which counts the classes by itself,'), _KEEP
    ),
    'EQLV2Loss': Refusal(_ITS_LOSS.format('EQLV2Loss, which weighs classes,'), _KEEP),
    'CrossEntropyCustomLoss': Refusal(
        'the head takes its number of scores and their activation from CrossEntropyCustomLoss',
        'Give the head CrossEntropyLoss.',
    ),
    'FocalCustomLoss': Refusal(
        'the head takes the activation of its scores from FocalCustomLoss',
        'Give the head FocalLoss.',
    ),
    'AsymmetricLoss': Refusal('AsymmetricLoss is for samples of several labels', _KEEP),
}


class CannotReadError(Exception):
    """A loss whose settings cannot be taken over; `refusal` says why."""

    def __init__(self, reason: str, remedy: str = _KEEP) -> None:
        super().__init__(reason)
        self.refusal = Refusal(reason, remedy)


@dataclass(frozen=True)
class LossSettings:
    """The settings of a classification loss, whichever library it comes from.

    `gamma`, `balance` and `quality_beta` are those of our losses. `class_weight` is
    a list, or in DETR a number with `bg_cls_weight`. `smooths` says how the loss smooths the
    labels by itself, or is None.
    """

    num_classes: int
    background: bool
    use_sigmoid: bool
    reduction: str = 'mean'
    loss_weight: float = 1.0
    class_weight: Any = None
    bg_cls_weight: float | None = None
    ignore_index: int | None = None
    avg_non_ignore: bool = False
    gamma: float = 0.0
    balance: float | None = None
    quality_beta: float | None = None
    smooths: str | None = None

    @property
    def num_columns(self) -> int:
        return self.num_classes + self.background

    def for_ours(self) -> dict[str, Any]:
        """As arguments of our losses, without those that have their default and no reader."""
        arguments: dict[str, Any] = dict(
            num_classes=self.num_classes,
            use_sigmoid=self.use_sigmoid,
            reduction=self.reduction,
            loss_weight=self.loss_weight,
        )
        if self.background:
            arguments['background'] = True
        if self.gamma or self.balance is not None:
            arguments.update(gamma=self.gamma, balance=self.balance)
        if self.quality_beta is not None:
            arguments['quality_beta'] = self.quality_beta
        return {**arguments, **self._rare()}

    def for_host(self, host: str) -> dict[str, Any]:
        """As the config of the host's own loss for hard labels, always in the same form.

        Args:
            host: 'mmdet' or 'mmpretrain'.

        Raises:
            ValueError: The host has no such loss.
        """
        common = dict(reduction=self.reduction, loss_weight=self.loss_weight)
        rare = self._rare()
        if self.quality_beta is not None:
            self._refuse(rare, 'QualityFocalLoss')
            quality = dict(use_sigmoid=True, beta=self.quality_beta)
            return dict(type='mmdet.QualityFocalLoss', **quality, **common)
        if self.gamma or self.balance is not None:
            focal = dict(gamma=self.gamma, alpha=self.balance)
            if self.balance is None:  # FocalLoss weighs the two parts by alpha and 1 - alpha
                focal['alpha'] = 0.5
                common['loss_weight'] = 2 * self.loss_weight
            if host == 'mmdet':
                focal = dict(use_sigmoid=True, **focal)
            self._refuse(rare, 'FocalLoss')
            return dict(type=f'{host}.FocalLoss', **focal, **common)
        if host == 'mmdet':
            loss = dict(type='mmdet.CrossEntropyLoss', use_sigmoid=self.use_sigmoid)
            return {**loss, **common, **rare}
        weight = rare.pop('class_weight', None)
        self._refuse(rare, "MMPretrain's CrossEntropyLoss")
        if self.use_sigmoid:
            # Its binary cross entropy takes no class indices; this loss makes rows of them.
            loss = dict(type='mmpretrain.LabelSmoothLoss', label_smooth_val=0.0, use_sigmoid=True)
            weights = dict(pos_weight=weight)
        else:
            loss = dict(type='mmpretrain.CrossEntropyLoss', use_sigmoid=False)
            weights = dict(class_weight=weight)
        return {**loss, **common, **(weights if weight is not None else {})}

    def _rare(self) -> dict[str, Any]:
        rare = dict(
            class_weight=self.class_weight,
            bg_cls_weight=self.bg_cls_weight,
            ignore_index=self.ignore_index,
            avg_non_ignore=self.avg_non_ignore or None,
        )
        return {key: value for key, value in rare.items() if value is not None}

    @staticmethod
    def _refuse(rare: Mapping[str, Any], loss: str) -> None:
        if rare:
            key, value = next(iter(rare.items()))
            raise ValueError(
                f'{loss} has no counterpart for `{key}`, but the loss that it would replace has '
                f'{key}={value!r}: leave that out.'
            )


def read_loss(
    cls: Any, cfg: Mapping[str, Any], num_classes: int, background: bool | None
) -> LossSettings:
    """The settings of a loss, from its config and its constructor's defaults.

    Args:
        cls: The loss's class, of a host or of ours.
        cfg: Its config.
        num_classes: The number of classes of its head.
        background: Whether the head's scores have a column for the background; None means that they
            have one unless they are sigmoid scores.

    Raises:
        CannotReadError: The loss is not one whose settings are known, or has one that cannot be
            taken over.
    """
    name = getattr(cls, '__name__', str(cls))
    for base in getattr(cls, '__mro__', ()):
        if base.__name__ in REFUSED_LOSSES:
            refusal = REFUSED_LOSSES[base.__name__]
            raise CannotReadError(refusal.reason, refusal.remedy)
        reader = _READERS.get((package_of(base), base.__name__))
        if base is ClassificationLoss:
            reader = _read_ours
        if reader is None:
            continue
        if reader is not _read_ours and cls.forward is not base.forward:
            raise CannotReadError(f'{name} computes something else than {base.__name__}')
        arguments = _arguments(cls, cfg)
        try:
            settings = reader(arguments)
        except KeyError as error:
            raise CannotReadError(
                f'its loss {name} needs the argument `{error.args[0]}`', 'Set it in the loss.'
            ) from error
        with_background = background if background is not None else not settings['use_sigmoid']
        if isinstance(settings.get('class_weight'), tuple):
            settings['class_weight'] = list(settings['class_weight'])
        return LossSettings(num_classes=num_classes, background=with_background, **settings)
    raise CannotReadError(f'its loss {name} is none that mmdet_ols knows')


def is_known_loss(cls: Any) -> bool:
    """Whether a class is a classification loss of a host or of ours, or derived from one."""
    bases = getattr(cls, '__mro__', ())
    return any(
        base is ClassificationLoss or (package_of(base), base.__name__) in _READERS
        for base in bases
    )


def _arguments(cls: Any, cfg: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments of a loss: those of its config, and the constructor's defaults."""
    parameters: dict[str, inspect.Parameter] = {}
    for base in reversed(cls.__mro__):
        if '__init__' in vars(base):
            parameters.update(inspect.signature(vars(base)['__init__']).parameters)
    arguments = {
        key: parameter.default
        for key, parameter in parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }
    for key, value in cfg.items():
        if key in ('type', '_scope_'):
            continue
        if key not in parameters and key != 'bg_cls_weight':  # which DETR's head takes out
            raise CannotReadError(
                f'its loss {cls.__name__} has no argument `{key}`',
                f'Remove `{key}` from the loss; where the loss of a base config has it, write '
                '_delete_=True in the new one.',
            )
        arguments[key] = value
    return arguments


def _read_mmdet_cross_entropy(arguments: dict[str, Any]) -> dict[str, Any]:
    if arguments['use_mask']:
        raise CannotReadError('CrossEntropyLoss(use_mask=True) is for masks')
    return _take(
        arguments,
        'use_sigmoid',
        'class_weight',
        'bg_cls_weight',
        'ignore_index',
        'avg_non_ignore',
    )


def _read_mmdet_focal(arguments: dict[str, Any]) -> dict[str, Any]:
    if arguments['activated']:
        raise CannotReadError('FocalLoss(activated=True) takes probabilities, not scores')
    if not arguments['use_sigmoid']:
        raise CannotReadError(
            'FocalLoss(use_sigmoid=False) is none that MMDetection has',
            'Set use_sigmoid=True, or give the head CrossEntropyLoss.',
        )
    return dict(_take(arguments, 'use_sigmoid'), **_focal(arguments))


def _read_mmdet_quality_focal(arguments: dict[str, Any]) -> dict[str, Any]:
    if arguments['activated']:
        raise CannotReadError('QualityFocalLoss(activated=True) takes probabilities, not scores')
    return dict(_take(arguments, 'use_sigmoid'), quality_beta=float(arguments['beta']))


def _read_mmpretrain_cross_entropy(arguments: dict[str, Any]) -> dict[str, Any]:
    use_sigmoid = bool(arguments['use_sigmoid'])
    if use_sigmoid and arguments['class_weight'] is not None:
        raise CannotReadError(
            "MMPretrain's binary cross entropy weighs both answers by `class_weight`",
            'Take `pos_weight`, which weighs the positive one, or leave it out.',
        )
    weight = arguments['pos_weight' if use_sigmoid else 'class_weight']
    return dict(_take(arguments), use_sigmoid=use_sigmoid, class_weight=weight)


def _read_mmpretrain_focal(arguments: dict[str, Any]) -> dict[str, Any]:
    return dict(_take(arguments), use_sigmoid=True, **_focal(arguments))


def _focal(arguments: dict[str, Any]) -> dict[str, Any]:
    alpha = arguments['alpha']
    if not isinstance(alpha, (int, float)) or not 0 <= alpha <= 1:
        raise CannotReadError(
            f'its FocalLoss weighs positives by alpha and negatives by 1 - alpha, with {alpha=!r}',
            'Set alpha to a number in [0, 1].',
        )
    return dict(gamma=float(arguments['gamma']), balance=alpha)


def _read_label_smooth(arguments: dict[str, Any]) -> dict[str, Any]:
    mode, amount = arguments['mode'], arguments['label_smooth_val']
    if arguments['use_sigmoid'] is None:
        arguments['use_sigmoid'] = mode == 'multi_label'
    settings = _read_mmpretrain_cross_entropy(arguments)
    if amount:
        settings['smooths'] = f'LabelSmoothLoss(label_smooth_val={amount}, mode={mode!r})'
    return settings


def _read_ours(arguments: dict[str, Any]) -> dict[str, Any]:
    return _take(
        arguments,
        'use_sigmoid',
        'class_weight',
        'bg_cls_weight',
        'ignore_index',
        'avg_non_ignore',
        'gamma',
        'balance',
        'quality_beta',
    )


def _take(arguments: dict[str, Any], *names: str) -> dict[str, Any]:
    keys = ('reduction', 'loss_weight', *names)
    return {key: arguments[key] for key in keys if key in arguments}


_READERS = {
    ('mmdet', 'CrossEntropyLoss'): _read_mmdet_cross_entropy,
    ('mmdet', 'FocalLoss'): _read_mmdet_focal,
    ('mmdet', 'QualityFocalLoss'): _read_mmdet_quality_focal,
    ('mmpretrain', 'CrossEntropyLoss'): _read_mmpretrain_cross_entropy,
    ('mmpretrain', 'FocalLoss'): _read_mmpretrain_focal,
    ('mmpretrain', 'LabelSmoothLoss'): _read_label_smooth,
}


def as_list(weight: Any, num_columns: int) -> list[float]:
    """Weights of classes, of which the hosts take one number for all of them, too."""
    return list(weight) if isinstance(weight, Sequence) else [weight] * num_columns
