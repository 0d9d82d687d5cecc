"""Making a config of the paper so small that it runs in seconds, by rules on the config's tree."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmdet_ols.checks.schedules import schedules_of
from mmdet_ols.config_tree import (
    all_hooks,
    hook_configs,
    imported_modules,
    nested_dicts,
    type_name,
)
from mmdet_ols.datasets.tree import CLEAN_PART, SPLITS, leaf_datasets, walk_datasets
from mmdet_ols.engine.data_root import replace_data_root
from mmdet_ols.engine.run_config import write_out_defaults
from mmdet_ols.methods import apply_method
from mmdet_ols.reproduction.image_sides import side_of, sizes_of
from mmdet_ols.reproduction.made_sets import MADE_TYPES, made_kind

#: Enough for every stage of every method, whose starts are shares of the training.
EPOCHS = 5
#: Even, since pairwise confusion compares the halves of a batch.
BATCH_SIZE = 4
#: Two steps an epoch.
TRAIN_IMAGES = 8
#: Sides of images, of which the smallest that the network takes is chosen: a quarter of CIFAR's,
#: and for images of a hundred pixels or more those below.
SMALL_SIDE = 8
LARGE_SIDES = (64, 96, 128, 224)
LARGE = 100
#: How many images are attacked.
ATTACKED = 2
#: Entries of transforms, of augmentations of batches and of test-time augmentation: pixels.
SIZES = ('crop_size', 'padding', 'scale', 'size', 'sizes')


def reduced(cfg: Config, method: str, data: Path) -> tuple[Config, tuple[str, ...]]:
    """Make a config small, and apply a method to it.

    Classes, network, losses, hooks, metrics and the method with its options stay. The method comes
    last, so that it stretches its own stages over the few epochs.

    Args:
        cfg: A resolved config, to which no method has been applied yet; it is changed.
        method: As for the tools' `--method`.
        data: The folder in which `make_data` has made its data.

    Returns:
        The config, and what was reduced, as sentences for people.
    """
    notes = [_use_made_data(cfg, data)]
    notes += _shorten(cfg)
    notes += _shrink_images(cfg)
    notes += _forget_pretrained(cfg)
    notes += _limit_tests(cfg)
    _quieten(cfg)
    cfg = apply_method(cfg, method)
    notes += _shrink_clean_part(cfg)
    cfg.randomness = dict(cfg.get('randomness') or {}, seed=0)
    return cfg, tuple(notes)


def _use_made_data(cfg: Config, data: Path) -> str:
    kind = made_kind(cfg)
    replace_data_root(cfg, str(data / kind))
    for split in SPLITS:
        for dataset in leaf_datasets(cfg[f'{split}_dataloader']['dataset']):
            dataset['type'] = MADE_TYPES.get(type_name(dataset), dataset['type'])
            dataset['serialize_data'] = False  # takes longer than to load so few
            if split == 'train':
                dataset['indices'] = TRAIN_IMAGES
    from mmdet_ols.reproduction import made_cifar  # and MMPretrain, which no plan or page needs

    cfg.custom_imports['imports'] = [*imported_modules(cfg), made_cifar.__name__]
    return f'The images are noise, in the layout of the data set ({kind}) and with its classes.'


def _shorten(cfg: Config) -> list[str]:
    """Few epochs of few steps, over which schedules and intervals are stretched."""
    loader = cfg.train_dataloader
    before, batch = cfg.train_cfg['max_epochs'], loader['batch_size']
    sizes = [size for hook in hook_configs(cfg, 'EnsembleHook') for size in hook['sizes']]
    epochs = math.lcm(*sizes) if sizes else EPOCHS
    factor = epochs / before
    cfg.train_cfg.update(max_epochs=epochs, val_interval=math.ceil(epochs / 2))
    for split in SPLITS:
        cfg[f'{split}_dataloader'].update(num_workers=0, batch_size=2 * BATCH_SIZE)
    loader['batch_size'] = TRAIN_IMAGES if sizes else BATCH_SIZE
    write_out_defaults(cfg)  # of loaders without worker processes
    for _, schedule in schedules_of(cfg):
        _stretch(schedule, factor)
    checkpoint = cfg.default_hooks['checkpoint']
    interval = max(1, round(checkpoint.get('interval', 1) * factor)) if sizes else epochs
    checkpoint.update(interval=interval, save_best=None, save_optimizer=False)
    notes = [
        f'It trains for {epochs} epochs instead of {before}, over which its schedule is stretched, '
        f'each of {TRAIN_IMAGES} images in batches of {loader["batch_size"]} instead of {batch}.'
    ]
    steps = epochs * (TRAIN_IMAGES // loader['batch_size'])
    for hook in hook_configs(cfg, 'OLSHook'):
        if hook.get('by_epoch') is False and hook.get('interval'):
            notes.append(
                f'The soft labels are renewed every {steps // 2} iterations instead of every '
                f'{hook["interval"]}.'
            )
            hook['interval'] = steps // 2
    return notes


def _stretch(schedule: Any, factor: float) -> None:
    """Let a schedule that counts epochs fit a shorter training."""
    for key in ('begin', 'end', 'T_max'):
        if schedule.get(key):
            schedule[key] = max(1, round(schedule[key] * factor))
    if 'milestones' in schedule:
        stretched = (max(1, round(epoch * factor)) for epoch in schedule['milestones'])
        schedule['milestones'] = sorted(set(stretched))


def _shrink_images(cfg: Config) -> list[str]:
    """Scale everything that is counted in pixels."""
    pipelines = [
        dataset['pipeline']
        for split in SPLITS
        for dataset in leaf_datasets(cfg[f'{split}_dataloader']['dataset'])
    ]
    before = side_of(pipelines[-1])
    whole = [
        node.get('batch_transforms')
        for split in SPLITS
        for node in walk_datasets(cfg[f'{split}_dataloader']['dataset'])
    ]
    if before is None:  # the images are as large as they lie in their files
        (before,) = {step['crop_size'] for steps in whole for step in steps or () if sizes_of(step)}
    side = _smallest_side(cfg) if before >= LARGE else SMALL_SIDE
    for pipeline in pipelines:
        if side_of(pipeline) is None:
            resize = dict(type='Resize', scale=(before, before))
            packs = [i for i, step in enumerate(pipeline) if type_name(step).startswith('Pack')]
            pipeline.insert(packs[0], resize)
    augments = (cfg.model.get('data_preprocessor') or {}).get('batch_augments')
    nodes = [*pipelines, *whole, augments, cfg.get('tta_pipeline')]
    done: list[Any] = []  # several data sets may share one pipeline
    for node in nodes:
        if node and not any(node is other for other in done):
            done.append(node)
            _scale(node, side / before)
    return [f'Images have {side} pixels a side instead of {before}.']


def _smallest_side(cfg: Config) -> int:
    """The side of the smallest images that a network takes; nothing is computed."""
    config = dict(copy.deepcopy(cfg.model['backbone']), init_cfg=None)
    scope = DefaultScope.overwrite_default_scope(cfg.get('default_scope'))
    with scope, torch.random.fork_rng([]):
        backbone = MODELS.build(config).to('meta')
    backbone.eval()  # which returns nothing in some of MMDetection's
    for side in LARGE_SIDES[:-1]:
        try:
            backbone(torch.zeros(1, 3, side, side, device='meta'))
        except (RuntimeError, ValueError):
            continue
        return side
    return LARGE_SIDES[-1]


def _scale(node: Any, factor: float) -> None:
    """Scale everything below a node that is counted in pixels."""
    for _, child in nested_dicts(node):
        for key in SIZES:
            value = child.get(key)
            if isinstance(value, (list, tuple)) and all(isinstance(v, int) for v in value):
                child[key] = type(value)(_scaled(v, factor) for v in value)
            elif isinstance(value, int):
                child[key] = _scaled(value, factor)


def _scaled(value: int, factor: float) -> int:
    return max(1, round(value * factor))


def _forget_pretrained(cfg: Config) -> list[str]:
    """Start from random weights: the network need not have learned anything."""
    loaded = False
    for _, node in nested_dicts(cfg.model):
        if (node.get('init_cfg') or {}) and type_name(node['init_cfg']) == 'Pretrained':
            node['init_cfg'], loaded = None, True
    return ['It starts from random weights instead of pretrained ones.'] if loaded else []


def _limit_tests(cfg: Config) -> list[str]:
    notes = []
    for hook in hook_configs(cfg, 'AdversarialErrorHook'):
        hook['num_samples'] = ATTACKED
        notes.append(f'Attacked are {ATTACKED} of the images.')
    return notes


def _quieten(cfg: Config) -> None:
    """Log each step, and draw nothing."""
    cfg.default_hooks['logger']['interval'] = 1
    for hook in all_hooks(cfg):
        if hook and 'draw_interval' in hook:
            hook['draw_interval'] = 0


def _shrink_clean_part(cfg: Config) -> list[str]:
    """Hold out one image of each class, and train on the others in two batches."""
    loader = cfg.train_dataloader
    parts = [node for node in walk_datasets(loader['dataset']) if type_name(node) == CLEAN_PART]
    notes = []
    for part in parts:
        notes.append(f'1 clean image a class is held out instead of {part["samples_per_class"]}.')
        part['samples_per_class'] = 1
        for dataset in leaf_datasets(part):
            dataset['indices'] = None  # each class has one image to train on, and a clean one
    if parts:
        loader['batch_size'] = cfg.model.head.num_classes // 2
        cfg.train_cfg['clean_batch_size'] = 2 * BATCH_SIZE
    return notes
