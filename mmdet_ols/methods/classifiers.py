"""Turning MMPretrain's classifier of a config into one of ours, and back."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from mmdet_ols.config_tree import imported_modules, registered_class, type_name
from mmdet_ols.methods.classification_losses import HeadLoss, find_losses

if TYPE_CHECKING:
    from mmengine.config import Config

#: Registers the classifiers that learn from themselves; it needs MMPretrain, as all classifiers do.
SELF_DISTILLATION = 'mmdet_ols.models.self_distillation'
#: The entry of a config that says what its model was before.
BEFORE = 'classifier_before'


def only_head(cfg: Config, method: str, softmax: bool = True) -> HeadLoss:
    """The head of a plain classifier, whose model a method can turn into one of ours.

    Args:
        cfg: The config.
        method: Name of the method.
        softmax: Whether the method compares distributions over the classes.

    Raises:
        ValueError: The model is something else; the message says which part of it.
    """
    from mmengine.registry import MODELS, DefaultScope

    losses = find_losses(cfg)
    for loss in losses:
        if loss.host != 'mmpretrain' or len(losses) > 1:
            raise ValueError(
                f"{loss.head}: {method} is defined for MMPretrain's classifiers of one head only. "
                'Choose another method.'
            )
    (loss,) = losses
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        model = registered_class(MODELS, cfg.model)
        head = registered_class(MODELS, loss.node)
    if getattr(model, '__name__', '') != 'ImageClassifier' or loss.path != 'head':
        raise ValueError(
            f"{method} builds on MMPretrain's ImageClassifier, but the model is of type "
            f'{type_name(cfg.model)}: choose another method.'
        )
    for base in head.__mro__:
        if base.__name__ == 'ClsHead':
            break
        if {'loss', '_get_loss'} & vars(base).keys():
            raise ValueError(
                f'{loss.head} (model.{loss.path}) computes its loss in its own way, to which '
                f'{method} has nothing to add: take LinearClsHead, or choose another method.'
            )
    if softmax and loss.settings.use_sigmoid:
        raise ValueError(
            f'{loss.head} (model.{loss.path}): {method} compares distributions over the classes, '
            'which sigmoid scores are not: give the head a softmax loss, or choose another method.'
        )
    return loss


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
        **others: What else it is told besides what the model was told.

    Raises:
        ValueError: An option is outside its range.
    """
    classifier = getattr(import_module(module), kind)
    if options is not None:
        classifier.check_options(**options)
    entries = {**others, **(options or {})}
    imports = [*dict.fromkeys([*imported_modules(cfg), module])]
    custom_imports = dict(cfg.get('custom_imports') or {}, imports=imports)
    custom_imports.setdefault('allow_failed_imports', False)
    cfg.custom_imports = custom_imports
    cfg[BEFORE] = dict(type=cfg.model.type, module=module, added=sorted(entries))
    cfg.model.update(entries, type=kind)


def restore_classifier(cfg: Config) -> dict[str, Any]:
    """Undo `replace_classifier`, and return what the classifier was told."""
    before = cfg.pop(BEFORE, None)
    if before is None:
        return {}
    cfg.model.type = before['type']
    told = {name: cfg.model.pop(name) for name in before['added'] if name in cfg.model}
    imports = [name for name in imported_modules(cfg) if name != before['module']]
    cfg.custom_imports = dict(cfg.custom_imports, imports=imports)
    return told
