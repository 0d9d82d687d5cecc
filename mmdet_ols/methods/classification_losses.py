"""Finding every classification loss of a model's config: the one place that knows where they are.

It decides by the classes of heads and losses, which it looks up in the hosts' registries as a run
would, by their base classes and by the defaults of their constructors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch

from mmdet_ols import losses
from mmdet_ols.config_tree import (
    REQUIRED,
    constructor_default,
    is_a,
    is_users,
    registered_class,
    type_name,
)
from mmdet_ols.core.arguments import check_number
from mmdet_ols.losses.classification_loss import ClassificationLoss
from mmdet_ols.methods.heads import NOT_TRAINED, Context, Head, Refusal, head_rule
from mmdet_ols.methods.host_losses import (
    HOST_SETTINGS,
    CannotReadError,
    LossSettings,
    as_list,
    is_known_loss,
    read_loss,
)

if TYPE_CHECKING:
    from mmengine.config import Config


#: The libraries whose heads are known; the names of their scopes.
HOSTS = ('mmdet', 'mmpretrain')
#: Why heads of MMSegmentation, which need not be installed to be seen, cannot be changed.
_PIXELS = Refusal(
    'it is made for segmentation and learns the classes of pixels',
    'Take a detector of MMDetection or a classifier of MMPretrain.',
)


@dataclass
class HeadLoss:
    """A classification loss in a config, with what its head and its host say about it.

    Attributes:
        head: Class name of the head.
        path: Where the head stands below `model`, such as 'roi_head.bbox_head.0'.
        host: The library whose loss belongs there, 'mmdet' or 'mmpretrain'.
        node: The head's config.
        key: The entry of it that holds the loss.
        settings: The settings of the loss.
        loss_cls: The loss's class.
        smoothers: Entries of the head by which it smooths labels, with their values.
        rule: What is known of the head's class.
        others: Further entries of a user's own head that hold classification losses, with the names
            of these. Only its code knows what they learn.
        is_detr: Whether the head turns `class_weight` and `bg_cls_weight` into a weight for each
            column before it makes the loss.
    """

    head: str
    path: str
    host: str
    node: Any
    key: str
    settings: LossSettings
    loss_cls: Any
    smoothers: Mapping[str, float]
    rule: Head
    others: Mapping[str, str]
    is_detr: bool = False

    @property
    def config(self) -> Mapping[str, Any]:
        """The loss's config; empty where the head takes its constructor's default."""
        return self.node.get(self.key) or {}

    @property
    def place(self) -> str:
        """The head and where it stands, for messages."""
        return _place(self.head, self.path)

    @property
    def is_ours(self) -> bool:
        return issubclass(self.loss_cls, ClassificationLoss)

    @property
    def own_settings(self) -> dict[str, Any]:
        """The settings of one of our losses that belong to its method."""
        return {key: value for key, value in self.config.items() if key not in HOST_SETTINGS}

    def scaled_weight(self, factor: float) -> float:
        """The loss's weight times a factor."""
        check_number('loss_scale', factor, 'above 0')
        return self.settings.loss_weight * factor

    def counterpart(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """The config of one of our losses with the settings of this one.

        Args:
            changes: Its `type`, and its other settings.

        Raises:
            ValueError: The loss's constructor refuses its arguments.
        """
        changes = dict(changes)
        loss = dict(type=changes.pop('type'), **{**self.settings.for_ours(), **changes})
        self._check(loss)
        return loss

    def replace(self, changes: Mapping[str, Any]) -> None:
        """Replace this loss by one of ours; see `counterpart`."""
        self.node[self.key] = self.counterpart(changes)

    def _check(self, loss: dict[str, Any]) -> None:
        """Make the loss once, without memory for its tensors."""
        arguments = dict(loss)
        cls = getattr(losses, arguments.pop('type'))
        background_weight = arguments.pop('bg_cls_weight', None)
        if self.is_detr and arguments.get('class_weight') is not None:
            # As DETR's head does it before it makes the loss.
            weights = as_list(arguments['class_weight'], self.settings.num_columns)
            if background_weight is not None:
                weights[-1] = background_weight
            arguments['class_weight'] = weights
        try:
            with torch.device('meta'):
                cls(**arguments)
        except (TypeError, ValueError) as error:
            raise ValueError(f'{self.place}: {error}') from error


@dataclass(frozen=True)
class RefusedHead:
    """A head that learns classes in a way that no method can change."""

    head: str
    path: str
    refusal: Refusal

    def __str__(self) -> str:
        return (
            f'{_place(self.head, self.path)} cannot learn with another classification loss: '
            f'{self.refusal.reason}. {self.refusal.remedy}'
        )


def _place(head: str, path: str) -> str:
    return f'{head} (model.{path})' if path else f'{head} (the model)'


def find_losses(cfg: Config) -> list[HeadLoss]:
    """Every classification loss of a config's model.

    Raises:
        ValueError: There is none, or a head has one that cannot be replaced.
    """
    losses, refused = inspect_heads(cfg)
    if refused:
        raise ValueError('\n'.join(map(str, refused)))
    if not losses:
        model = cfg.get('model') or {}
        if not model:
            raise ValueError(
                'A config must have a `model`, whose losses a method can change, but has none: it '
                'may be a part that other configs name in `_base_`. Take one of those, or add it.'
            )
        raise ValueError(
            f'The model ({type_name(model)}) must have a head that learns classes, but no '
            'classification loss was found in it: docs/detectors.md lists the heads that are known.'
        )
    return losses


def inspect_heads(cfg: Config) -> tuple[list[HeadLoss], list[RefusedHead]]:
    """The classification losses of a config's model, and the heads that cannot be changed."""
    from mmengine.registry import DefaultScope

    losses: list[HeadLoss] = []
    refused: list[RefusedHead] = []
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        for part in _walk(cfg.get('model') or {}, '', {}, None):
            if isinstance(part, HeadLoss):
                losses.append(part)
            else:
                refused.append(part)
    return losses, refused


def settings_of_ours(cfg: Config) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """The settings of our losses in a config that belong to a method, by the heads' paths."""
    return {
        loss.path: (loss.loss_cls.__name__, loss.own_settings)
        for loss in inspect_heads(cfg)[0]
        if loss.is_ours
    }


def _walk(
    node: Any, path: str, parent: Mapping[str, Any], scope: str | None
) -> Iterator[HeadLoss | RefusedHead]:
    """The heads at a node of a model's config and below it.

    Args:
        node: A dict, a list, or anything else.
        path: Where it stands.
        parent: The config of the module that holds it.
        scope: The scope that it stands in, as far as the config names one.
    """
    from mmengine.registry import MODELS, TASK_UTILS

    if isinstance(node, (list, tuple)):
        for i, child in enumerate(node):
            yield from _walk(child, f'{path}.{i}', parent, scope)
        return
    if not isinstance(node, dict):
        return
    scope = node.get('_scope_') or scope
    skipped: set[str] = set()
    if 'type' in node:
        # Some detectors have a part of their head there, such as the criterion of DiffusionDet.
        registered = (registered_class(registry, node, scope) for registry in (MODELS, TASK_UTILS))
        cls = next(filter(None, registered), None)
        parent_cls = registered_class(MODELS, parent, scope) if parent else None
        yield from _read_head(cls, node, path, parent, parent_cls, scope)
        for name, keys in NOT_TRAINED.items():
            if is_a(cls, name):
                skipped.update(keys)
        parent = node
    for key in node:
        if key not in skipped:
            child_path = f'{path}.{key}' if path else key
            yield from _walk(node[key], child_path, parent, scope)


def _read_head(
    cls: Any,
    node: Any,
    path: str,
    parent: Mapping[str, Any],
    parent_cls: Any,
    scope: str | None,
) -> Iterator[HeadLoss | RefusedHead]:
    """The classification loss of a module, if it is a head that has one."""
    rule = head_rule(cls)
    if rule is None:
        # `loss` is the entry of MMPretrain's heads, but of many other modules as well.
        if 'loss_decode' in node:
            yield RefusedHead(type_name(node), path, _PIXELS)
            return
        has_loss = isinstance(node.get('loss'), dict) and (cls is None or _is_own_head(cls, node))
        if has_loss or isinstance(node.get('loss_cls'), dict):
            key = 'loss_cls' if isinstance(node.get('loss_cls'), dict) else 'loss'
            reason = 'its class is derived from no head that mmdet_ols knows'
            remedy = f"Derive it from one, or set its {key} to dict(type='OLSLoss', ...) by hand."
            if cls is None:
                reason, remedy = 'its type is not registered', _how_to_register(node)
            yield RefusedHead(type_name(node), path, Refusal(reason, remedy))
        return
    context = Context(cls, node, parent, parent_cls, use_sigmoid=None)
    if rule.ignores(context):
        return
    try:
        refusal = rule.refuses(context)
        if refusal is None:
            loss = _read_head_loss(rule, context, path, scope)
            if loss is None:
                return
            beta = loss.settings.quality_beta
            context = replace(context, use_sigmoid=loss.settings.use_sigmoid)
            refusal = rule.refuses(context) or rule.refuses_loss(loss.loss_cls, beta)
            if refusal is None:
                yield loss
                return
    except CannotReadError as error:
        refusal = error.refusal
    yield RefusedHead(cls.__name__, path, refusal)


def _how_to_register(node: Mapping[str, Any]) -> str:
    """What to do about a type that is not registered in the scope of a config."""
    from mmengine.registry import MODELS

    for host in filter(find_spec, HOSTS):
        if registered_class(MODELS, node, host) is not None:
            return (
                f'It is one of {host}, which the config does not name: set '
                f"default_scope='{host}', or type='{host}.{type_name(node)}'."
            )
    return 'Import the module that registers it: custom_imports.'


def _is_own_head(cls: Any, node: Mapping[str, Any]) -> bool:
    """Whether a class that is none of the hosts' says how many classes its loss tells apart."""
    if not is_users(cls):
        return False  # of those, all that learn classes are known
    return 'num_classes' in node or constructor_default(cls, 'num_classes') is not None


def _read_head_loss(rule: Head, context: Context, path: str, scope: str | None) -> HeadLoss | None:
    from mmengine.registry import MODELS

    cls, node = context.cls, context.cfg
    config = node[rule.loss] if rule.loss in node else constructor_default(cls, rule.loss)
    if config is REQUIRED or config is None:
        return None  # such as a head for re-identification that only learns distances
    if not isinstance(config, Mapping):
        raise CannotReadError(f'its {rule.loss} is {config!r}', "Write dict(type='...', ...).")
    loss_cls = registered_class(MODELS, config, scope)
    if loss_cls is None:
        raise CannotReadError(
            f'its loss {type_name(config)} is not registered', _how_to_register(config)
        )
    background = dict(always=True, never=False).get(rule.background)
    settings = read_loss(loss_cls, config, _num_classes(rule, context), background)
    if rule.reads_sigmoid and settings.use_sigmoid and not config.get('use_sigmoid'):
        raise CannotReadError(
            f'its {type_name(config)} takes sigmoid scores, but the head, which looks for '
            '`use_sigmoid` only in the config, makes a column for the background',
            f'Name use_sigmoid=True in {rule.loss}.',
        )
    is_detr = cls.__name__ == 'DETRHead'
    if isinstance(settings.class_weight, (int, float)) and not is_detr:
        weights = as_list(settings.class_weight, settings.num_columns)
        settings = replace(settings, class_weight=weights)
    smoother = rule.smoother
    smoothers = {smoother: node[smoother]} if smoother and smoother in node else {}
    return HeadLoss(
        head=cls.__name__,
        path=path,
        host=rule.host,
        node=node,
        key=rule.loss,
        settings=settings,
        loss_cls=loss_cls,
        smoothers=smoothers,
        rule=rule,
        others=_other_losses(cls, node, rule.loss, scope),
        is_detr=is_detr,
    )


def _other_losses(cls: Any, node: Mapping[str, Any], own: str, scope: str | None) -> dict[str, str]:
    """The classification losses of a user's own head that no class of the hosts takes."""
    from mmengine.registry import MODELS

    if not is_users(cls):
        return {}
    host = next(base for base in cls.__mro__ if not is_users(base))
    return {
        key: type_name(child)
        for key, child in node.items()
        if key != own
        and isinstance(child, Mapping)
        and is_known_loss(registered_class(MODELS, child, scope))
        and constructor_default(host, key) is None
    }


def _num_classes(rule: Head, context: Context) -> int:
    """The number of classes of a head, which may be a default, or that of another module."""
    from mmengine.registry import MODELS

    counts = [_entry(context.cls, context.cfg, name) for name in rule.classes]
    maker = _maker_of_scores(rule, context)
    if counts == [None] and isinstance(maker, Mapping):
        counts = [_entry(registered_class(MODELS, maker), maker, 'num_classes')]
    if not all(isinstance(count, int) and count >= 0 for count in counts) or not sum(counts):
        names = ' + '.join(rule.classes)
        raise CannotReadError(
            f'its number of classes is not known ({names} is {counts[0]!r})',
            f'Set {rule.classes[0]} in the head, or in what makes its scores: `head_module` in '
            'MMYOLO, the backbone of some classifiers.',
        )
    return sum(counts)


def _entry(cls: Any, cfg: Mapping[str, Any], name: str) -> Any:
    """An entry of a module's config; where that has none, the default of its constructor."""
    value = cfg.get(name)
    return constructor_default(cls, name) if value is None else value


def _maker_of_scores(rule: Head, context: Context) -> Any:
    """The config of another module that makes a head's scores, and so knows the classes.

    It is the `head_module` of MMYOLO's heads, and the backbone of classifiers such as Inception v3.
    """
    if rule.host == 'mmpretrain':
        return context.parent.get('backbone')
    return context.cfg.get('head_module')
