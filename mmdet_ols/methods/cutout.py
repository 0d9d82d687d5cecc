"""CutOut: a square of every training image is blanked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mmdet_ols.methods.method import KeptSettings, Method, options_of, summary_of

if TYPE_CHECKING:
    from mmengine.config import Config


def cutout(cfg: Config, *, size: int | None = None, fill: Sequence[float] | None = None) -> None:
    """Blank a square of every training image of a classifier.

    `BatchCutOut` follows the other transforms of an `InMemoryDataset`; in a pipeline for single
    images `CutOutSquare` stands before the images are packed.

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
    raise NotImplementedError


def _apply(cfg: Config, given: Mapping[str, Any], kept: KeptSettings) -> None:
    cutout(cfg, **given)


METHOD = Method(
    name='cutout',
    summary=summary_of(cutout),
    source='DeVries and Taylor, Improved Regularization of Convolutional Neural Networks with '
    'Cutout, 2017, arXiv 1708.04552',
    changes='the augmentation of the training images',
    options=options_of(cutout),
    apply=_apply,
)
