"""What methods that learn the weights of samples add to a config, and what takes it out again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmdet_ols.config_tree import type_name
from mmdet_ols.core.arguments import check_integer
from mmdet_ols.datasets.tree import CLEAN_PART, GIVING_ALL, map_datasets, walk_datasets
from mmdet_ols.methods.sample_parts import SampleParts, remove_sample_parts

if TYPE_CHECKING:
    from mmengine.config import Config

#: MMEngine's loop, whose place the methods' loops take.
EPOCH_LOOP = 'EpochBasedTrainLoop'
#: The entry of a config that says what its training loop was before.
BEFORE = 'loop_before'


def add_meta_parts(
    cfg: Config, method: str, loop: str, samples_per_class: int, **options: Any
) -> None:
    """Let a classifier of MMPretrain learn the weights of its samples from a few clean ones.

    Args:
        cfg: The config; it is changed.
        method: Name of the method, for errors.
        loop: Class name of the training loop.
        samples_per_class: Size of the clean part.
        **options: Further arguments of the loop.

    Raises:
        ValueError: The config's training counts no epochs, has a loop of its own or a clean part
            already, the backbone computes its forward passes twice, an option is out of range, or
            the classifier cannot learn so (see `SampleParts`).
    """
    check_integer('clean_per_class', samples_per_class, note=f' of {method}')
    check_integer('clean_batch_size', options['clean_batch_size'], note=f' of {method}')
    # First whether it is a classifier: for a detector, another loop would be no remedy.
    SampleParts(cfg, method).add(dict(type='SampleWeightLoss'))
    _check_loop(cfg, method)
    _check_backbone(cfg, method)
    node: Any = cfg.train_dataloader
    if any(type_name(dataset) == CLEAN_PART for dataset in walk_datasets(node['dataset'])):
        raise ValueError(
            f'{method} holds a clean part out of the training data, but they have a {CLEAN_PART} '
            'already: remove that from `train_dataloader.dataset`.'
        )
    while type_name(node['dataset']) in GIVING_ALL and isinstance(
        node['dataset'].get('dataset'), dict
    ):
        node = node['dataset']
    node['dataset'] = dict(
        type=CLEAN_PART, part='rest', samples_per_class=samples_per_class, dataset=node['dataset']
    )
    train_cfg = dict(cfg.train_cfg)
    kind = {key: train_cfg.pop(key) for key in ('type', 'by_epoch') if key in train_cfg}
    cfg[BEFORE] = dict(loop=kind, added=sorted(options))
    cfg.train_cfg = dict(type=loop, **train_cfg, **options)


def remove_meta_parts(cfg: Config) -> dict[str, Any]:
    """Take out what `add_meta_parts` has put into a config, except the loss."""
    remove_sample_parts(cfg)
    before = cfg.pop(BEFORE, None)
    if before is not None:
        others = {k: v for k, v in cfg.train_cfg.items() if k not in ('type', *before['added'])}
        cfg.train_cfg = {**before['loop'], **others}
    loader = cfg.get('train_dataloader') or {}
    if loader.get('dataset'):
        loader['dataset'] = map_datasets(
            loader['dataset'],
            lambda node: node['dataset'] if type_name(node) == CLEAN_PART else node,
        )
    return {}


def _check_loop(cfg: Config, method: str) -> None:
    train_cfg = cfg.get('train_cfg') or {}
    kind = type_name(train_cfg) if train_cfg.get('type') else None
    if not train_cfg.get('max_epochs') or train_cfg.get('by_epoch') is False:
        raise ValueError(
            f'{method} has a training loop of its own, which counts epochs, but the config counts '
            'iterations: set train_cfg=dict(by_epoch=True, max_epochs=N).'
        )
    if kind not in (None, EPOCH_LOOP):
        raise ValueError(
            f'{method} has a training loop of its own, but so has the config, {kind}: remove '
            '`train_cfg.type`, or choose another method.'
        )


def _check_backbone(cfg: Config, method: str) -> None:
    backbone = cfg.model.get('backbone') or {}
    if backbone.get('with_cp'):
        raise ValueError(
            f'{method} differentiates the forward pass in other ways than a training step, but '
            f'with_cp=True makes {type_name(backbone)} compute it again in the backward pass: '
            'leave `with_cp` out.'
        )
