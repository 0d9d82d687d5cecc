"""Be your own teacher: classifiers on early stages of a network learn along with the final one."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch

from mmdet_ols.config_tree import REQUIRED, constructor_default, registered_class, type_name
from mmdet_ols.methods.classifiers import only_head, replace_classifier, restore_classifier
from mmdet_ols.methods.method import config_method

if TYPE_CHECKING:
    from mmengine.config import Config

#: Side of the made-up image by which the maps of a backbone are measured that names no `img_size`.
SIDE = 224
#: The map of the first stage is so many times as wide as what its exit makes of it.
SHRINKAGE = 8


def byot(
    cfg: Config,
    *,
    final_weight: float = 1.5,
    exit_weight: float = 0.5,
    soft_weight: float = 0.25,
    distillation: float = 0.0,
    temperature: float = 3.0,
    temperature_squared: bool = False,
    feature_weight: float = 0.0,
    feature_exits: str = 'all',
    start_epoch: int = 1,
) -> None:
    """Let classifiers on the early stages of the network learn along with the final one.

    The defaults are what the authors of OLS ran, which is deep supervision without distillation.
    The original is `final_weight=1,exit_weight=1,distillation=0.3,feature_weight=0.03,
    feature_exits=deeper,start_epoch=0`, with the weights of its authors' later code.

    Args:
        cfg: The config; it is changed.
        final_weight: Weight of the final classifier's loss.
        exit_weight: Weight of each early exit.
        soft_weight: Weight of the soft labels' part in an early exit, together with `ols`.
        distillation: Share of the final classifier's predictions in an early exit, in [0, 1].
        temperature: Temperature of the predictions.
        temperature_squared: Whether the divergence is multiplied by the temperature's square.
        feature_weight: Weight of the squared distance to the final features.
        feature_exits: Which exits learn them: 'all' or 'deeper' (all but the first).
        start_epoch: How many epochs pass before the early exits learn.

    Raises:
        ValueError: The backbone has no stages, the head is no classifier's, an option is out of
            range, or the exits would never learn.
    """
    head = only_head(cfg, 'byot', softmax=bool(distillation))
    for name in ('in_channels', 'num_classes'):
        if not isinstance(head.node.get(name), int):
            raise ValueError(
                f'{head.place} must say its `{name}`, from which the exits of byot are made, but '
                f'got {head.node.get(name)!r}: set it, or take LinearClsHead.'
            )
    _check_start(cfg, start_epoch)
    exits, final_stage = _exits(cfg)
    replace_classifier(
        cfg,
        'MultiExitClassifier',
        dict(
            final_weight=final_weight,
            exit_weight=exit_weight,
            soft_weight=soft_weight,
            distillation=distillation,
            temperature=temperature,
            temperature_squared=temperature_squared,
            feature_weight=feature_weight,
            feature_exits=feature_exits,
            start_epoch=start_epoch,
        ),
        exits=exits,
        final_stage=final_stage,
    )


def _check_start(cfg: Config, start_epoch: Any) -> None:
    """Raise a ValueError where the exits would never learn, or nobody counts the epochs."""
    if not isinstance(start_epoch, int) or start_epoch <= 0:
        return  # from the beginning; other values the classifier refuses
    length = (cfg.get('train_cfg') or {}).get('max_epochs')
    if length is None:
        raise ValueError(
            f'`start_epoch` of byot, {start_epoch!r}, needs train_cfg.max_epochs, but the '
            "config's training loop counts no epochs: set start_epoch=0."
        )
    if start_epoch >= length:
        raise ValueError(
            f'`start_epoch` of byot must be less than the {length} epochs of the config, or the '
            f'early exits would never learn, but got {start_epoch!r}: set start_epoch=0.'
        )


def _exits(cfg: Config) -> tuple[list[dict[str, int]], int]:
    """An exit for each stage before the one that is classified, and the number of that one.

    Raises:
        ValueError: The backbone has no such stages.
    """
    from mmengine.registry import MODELS, DefaultScope

    config = copy.deepcopy(cfg.model.backbone)
    name = f'{type_name(config)} (model.backbone)'
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        default = constructor_default(registered_class(MODELS, config), 'out_indices')
        if default in (None, REQUIRED):
            raise ValueError(
                f'{name} has no stages (`out_indices`) whose maps byot could attach exits to: take '
                'a ResNet or ResNeXt.'
            )
        indices = config.get('out_indices', default)
        indices = [indices] if isinstance(indices, int) else list(indices)
        if len(indices) != 1 or indices[0] < 1:
            raise ValueError(
                f'{name} must return the map of one stage, with others before it, but has '
                f'out_indices={tuple(indices)}: name the number of its last stage.'
            )
        stages = range(indices[0] + 1)
        shapes = _shapes(config, stages, name)
    exits = [
        # As the authors' 8, 4 and 2 for maps of 32, 16 and 8 pixels.
        dict(stage=stage, channels=channels, stride=max(SHRINKAGE * side // shapes[0][1], 1))
        for stage, (channels, side) in zip(stages[:-1], shapes)
    ]
    return exits, indices[0]


def _shapes(config: Any, stages: range, name: str) -> list[tuple[int, int]]:
    """Channels and side of each stage's map."""
    from mmengine.registry import MODELS

    try:
        with torch.random.fork_rng([]):
            backbone = MODELS.build(dict(config, out_indices=tuple(stages)))
        backbone.eval()
        # Only its shapes count: nothing is computed on the meta device.
        side = config.get('img_size', SIDE)
        size = (side, side) if isinstance(side, int) else side
        maps = backbone.to('meta')(torch.zeros(1, 3, *size, device='meta'))
        shapes = [tuple(x.shape) for x in maps]
    except Exception as error:  # whatever a backbone's code raises
        raise ValueError(
            f'{name} cannot return the maps of its stages {list(stages)} (`out_indices`), to which '
            f'byot attaches exits: {error}'
        ) from error
    if [len(shape) for shape in shapes] != [4] * len(stages):
        raise ValueError(
            f'{name} must return maps (N, C, H, W) of its stages, to which byot attaches exits, '
            f'but they have the shapes {shapes}: take a ResNet or ResNeXt.'
        )
    return [(shape[1], shape[-1]) for shape in shapes]


METHOD = config_method(
    byot,
    source='Zhang et al., Be Your Own Teacher, ICCV 2019, arXiv 1905.08094; the form and the '
    'weights are those of the authors of OLS',
    changes='the classifier (MultiExitClassifier), which gets exits after its early stages',
    undo=restore_classifier,
    combines_with=('cutout', 'ls', 'ols'),
)
