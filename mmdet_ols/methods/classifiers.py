"""MMPretrain's classifier of a config: what a method may replace in it, and turning it back."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from mmdet_ols.config_tree import (
    hook_configs,
    imported_modules,
    registered_class,
    set_imports,
    type_name,
)
from mmdet_ols.methods.classification_losses import HeadLoss, find_losses

if TYPE_CHECKING:
    from mmengine.config import Config

#: Registers the classifiers that learn from themselves; it needs MMPretrain, as all classifiers do.
SELF_DISTILLATION = 'mmdet_ols.models.self_distillation'
#: The entry of a config that says what its model was before.
BEFORE = 'classifier_before'


def only_loss(cfg: Config, method: str) -> HeadLoss:
    """The loss of a classifier of MMPretrain with one head, which a method can replace.

    Args:
        cfg: The config.
        method: Name of the method, for errors.

    Raises:
        ValueError: The model is a detector, or has several heads.
    """
    first, *others = find_losses(cfg)
    if others or first.host != 'mmpretrain':
        raise ValueError(
            f"{first.head}: {method} works on whole images, so it is defined for MMPretrain's "
            'classifiers of one head only. Choose another method.'
        )
    return first


def only_head(
    cfg: Config,
    method: str,
    softmax: bool = True,
    plain: bool = True,
    extended: Collection[str] = (),
) -> HeadLoss:
    """The head of MMPretrain's ImageClassifier, which a method can turn into one of ours.

    Args:
        cfg: The config.
        method: Name of the method, for errors.
        softmax: Whether the method compares distributions over the classes.
        plain: Whether the method adds to what `ClsHead` computes, so the head must do the same.
        extended: Class names of our classifiers that the method takes as well.

    Raises:
        ValueError: The model is something else; the message says which part of it.
    """
    from mmengine.registry import MODELS, DefaultScope

    loss = only_loss(cfg, method)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        model = registered_class(MODELS, cfg.model)
        head = registered_class(MODELS, loss.node)
    name = getattr(model, '__name__', type_name(cfg.model))
    if name not in ('ImageClassifier', *extended) or loss.path != 'head':
        raise ValueError(
            f"The model of {method} must be MMPretrain's ImageClassifier, whose training step it "
            f'extends, but got {type_name(cfg.model)}: build the network from a backbone and a '
            'head of MMPretrain, or choose another method.'
        )
    for base in head.__mro__ if plain else ():
        if base.__name__ == 'ClsHead':
            break
        if {'loss', '_get_loss'} & vars(base).keys():
            raise ValueError(
                f'{loss.place} computes its loss in its own way, to which {method} has nothing to '
                'add: take LinearClsHead, or choose another method.'
            )
    if softmax and loss.settings.use_sigmoid:
        raise ValueError(
            f'{loss.place}: {method} is defined for softmax scores, but the loss takes sigmoid '
            "scores: give the head loss=dict(type='CrossEntropyLoss'), or choose another method."
        )
    return loss


def refuse_mixing(cfg: Config, method: str) -> None:
    """Raise a ValueError where images of a batch are mixed before the classifier sees them."""
    preprocessor = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    places = [
        ('`train_cfg.augments` of the model', cfg.model.get('train_cfg')),
        ('`batch_augments` of the data preprocessor', preprocessor.get('batch_augments')),
    ]
    for hook in hook_configs(cfg, 'SwitchRecipeHook'):
        for step in hook['schedule']:
            where = f'the schedule of SwitchRecipeHook, at epoch {step["action_epoch"]}'
            places.append((where, step.get('batch_augments')))
    for where, place in places:
        augments = (place or {}).get('augments') or []
        if augments:
            first = augments[0] if isinstance(augments, (list, tuple)) else augments
            raise ValueError(
                f'{method} looks at each training sample, but {type_name(first)} mixes the images '
                f'of a batch before it sees them: remove it from {where}.'
            )


def replace_classifier(
    cfg: Config,
    kind: str,
    options: Mapping[str, Any] | None = None,
    module: str = SELF_DISTILLATION,
    **others: Any,
) -> None:
    """Give a model the type of one of our classifiers, and its arguments.

    Args:
        cfg: The config; it is changed.
        kind: Class name of the classifier.
        options: The options of its method, which it checks.
        module: Where it is registered.
        **others: Further arguments, besides those that the model has.

    Raises:
        ValueError: An option is outside its range.
    """
    classifier = getattr(import_module(module), kind)
    if options is not None:
        classifier.check_options(**options)
    entries = {**others, **(options or {})}
    set_imports(cfg, list(dict.fromkeys([*imported_modules(cfg), module])))
    cfg[BEFORE] = dict(type=cfg.model.type, module=module, added=sorted(entries))
    cfg.model.update(entries, type=kind)


def restore_classifier(cfg: Config) -> dict[str, Any]:
    """Undo `replace_classifier`, and return the arguments that it had added."""
    before = cfg.pop(BEFORE, None)
    if before is None:
        return {}
    cfg.model.type = before['type']
    told = {name: cfg.model.pop(name) for name in before['added'] if name in cfg.model}
    set_imports(cfg, [name for name in imported_modules(cfg) if name != before['module']])
    return told
