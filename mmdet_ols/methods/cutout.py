"""CutOut: a square of every training image is blanked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mmdet_ols.config_tree import hook_configs, type_name
from mmdet_ols.core.arguments import check_integer
from mmdet_ols.datasets.batch_transforms import BatchCutOut
from mmdet_ols.datasets.tree import leaf_datasets
from mmdet_ols.methods.changes import train_loader
from mmdet_ols.methods.classification_losses import find_losses
from mmdet_ols.methods.method import config_method

if TYPE_CHECKING:
    from mmengine.config import Config


#: The transforms that blank a square of each image.
TRANSFORMS = ('BatchCutOut', 'CutOutSquare')


def cutout(cfg: Config, *, size: int | None = None, fill: Sequence[float] | None = None) -> None:
    """Blank a square of every training image of a classifier.

    `BatchCutOut` follows the other transforms of an `InMemoryDataset`; in a pipeline for single
    images `CutOutSquare` stands before the images are packed, and so it does in a pipeline to which
    MMPretrain's `SwitchRecipeHook` changes in a later epoch.

    Args:
        cfg: The config; it is changed.
        size: Side of the square in pixels. The original takes 16 for CIFAR-10 and 8 for CIFAR-100,
            and the CutMix paper, from which the OLS paper's rows are taken, half the side of the
            images (112 for ImageNet). None means half of what the last crop leaves.
        fill: What is put there, in the order of the loaded channels (BGR); None means the mean that
            the preprocessor subtracts, which is 0 after normalisation.

    Raises:
        ValueError: The config is not a classifier's, has CutOut already, or an option is out of
            range or cannot be told from the config.
    """
    losses = find_losses(cfg)
    if any(loss.host != 'mmpretrain' for loss in losses):
        raise ValueError(
            f'{losses[0].head}: cutout is defined for classifiers, and a square over an object '
            'would leave its box without it: choose another method.'
        )
    training = train_loader(cfg, 'cutout')['dataset']
    colour = _mean(cfg) if fill is None else fill
    for dataset in leaf_datasets(training, whole=('InMemoryDataset',)):
        key = 'batch_transforms' if type_name(dataset) == 'InMemoryDataset' else 'pipeline'
        dataset[key] = _with_cutout(list(dataset.get(key) or []), key, size, colour)
    for step in _late_pipelines(cfg):
        step['train_pipeline'] = _with_cutout(step['train_pipeline'], 'pipeline', size, colour)


def remove_cutout(cfg: Config) -> dict[str, Any]:
    """Take out what `cutout` has put into a config."""
    training = (cfg.get('train_dataloader') or {}).get('dataset')
    for dataset in leaf_datasets(training, whole=('InMemoryDataset',)):
        for key in ('batch_transforms', 'pipeline'):
            if key in dataset:
                dataset[key] = _without_cutout(dataset[key])
    for step in _late_pipelines(cfg):
        step['train_pipeline'] = _without_cutout(step['train_pipeline'])
    return {}


def _late_pipelines(cfg: Config) -> list[dict[str, Any]]:
    """The steps of MMPretrain's SwitchRecipeHook that exchange the pipeline in a later epoch."""
    hooks = hook_configs(cfg, 'SwitchRecipeHook')
    return [step for hook in hooks for step in hook['schedule'] if step.get('train_pipeline')]


def _without_cutout(steps: Sequence[Any]) -> list[Any]:
    return [step for step in steps if type_name(step) not in TRANSFORMS]


def _with_cutout(
    steps: list[Any], key: str, size: int | None, fill: Sequence[float] | float
) -> list[Any]:
    """The transforms of images, with CutOut where it belongs.

    Args:
        steps: The transforms.
        key: 'batch_transforms' or 'pipeline', which says what kind of transforms they are.
        size: See `cutout`.
        fill: See `cutout`.
    """
    for name in map(type_name, steps):
        if name in TRANSFORMS:
            raise ValueError(
                f'The training data have {name} already, so that `cutout` would blank a second '
                'square: leave `cutout` out, or remove the transform.'
            )
    if size is None:
        size = _half_of_crop(steps)
    check_integer('size', size, note=' of cutout, in pixels,')
    BatchCutOut(size, fill)  # which checks the colour
    if key == 'batch_transforms':
        return [*steps, dict(type='BatchCutOut', size=size, fill=fill)]
    packs = [i for i, step in enumerate(steps) if type_name(step).startswith('Pack')]
    if not packs:
        raise ValueError(
            'The training pipeline must end by packing its results (PackInputs), before which '
            f'`cutout` would stand, but its transforms are {list(map(type_name, steps))}.'
        )
    return [*steps[: packs[0]], dict(type='CutOutSquare', size=size, fill=fill), *steps[packs[0] :]]


def _half_of_crop(steps: Sequence[Any]) -> int:
    """Half the side of what the last crop or resizing leaves of an image."""
    for step in reversed(steps):
        for key in ('crop_size', 'scale'):
            side = step.get(key)
            if isinstance(side, (list, tuple)):
                side = min(side)
            if isinstance(side, int) and side >= 2:
                return side // 2
    raise ValueError(
        '`size` of cutout must be given for these training data, since no transform says the size '
        'of their images: --method cutout:size=16, for example.'
    )


def _mean(cfg: Config) -> list[float] | float:
    """The colour that the preprocessor turns into 0, in the order of the loaded channels."""
    model = cfg.get('model') or {}
    preprocessor = model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    mean = preprocessor.get('mean')
    if mean is None:
        return 0
    return list(reversed(mean)) if preprocessor.get('to_rgb') else list(mean)


METHOD = config_method(
    cutout,
    source='DeVries and Taylor, Improved Regularization of Convolutional Neural Networks with '
    'Cutout, 2017, arXiv 1708.04552',
    changes='the augmentation of the training images',
    undo=remove_cutout,
)
