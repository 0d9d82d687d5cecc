"""PENCIL: labels that are learned together with the network."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from mmdet_ols.methods.changes import say, train_loader
from mmdet_ols.methods.method import config_method
from mmdet_ols.methods.sample_parts import SampleParts, remove_sample_parts

if TYPE_CHECKING:
    from mmengine.config import Config

#: The authors' step size of the distributions, and the batches that it is for.
LABEL_LR, BATCH_SIZE = 600.0, 128


def pencil(
    cfg: Config,
    *,
    correct_from: float = 70 / 320,
    correct_until: float = 200 / 320,
    compatibility_weight: float = 0.4,
    entropy_weight: float = 0.1,
    label_lr: float = LABEL_LR,
    init_scale: float = 10.0,
    compatibility: str = 'released',
) -> None:
    """Learn a label distribution for every training sample, together with the network.

    The defaults are those of the authors' code for CIFAR-10, whose 320 epochs are stretched over
    those of the config: `correct_from=70,correct_until=200` are theirs. The learning rate stays the
    config's own; the authors keep it constant in the first two stages, and begin the third one with
    another one, which falls by ten after each third.

    Args:
        cfg: The config; it is changed.
        correct_from: When labels begin to be corrected: a share of the config's epochs below 1,
            which is at least one epoch, or a number of epochs; 0 corrects from the beginning.
        correct_until: When the corrected labels are left as they are.
        compatibility_weight: How strongly distributions are held at the given labels.
        entropy_weight: How strongly predictions are made sure.
        label_lr: Step size of the distributions, in proportion to the batch size: the authors' 600
            is for batches of 128.
        init_scale: The logit of the given label at the start.
        compatibility: 'released' or 'paper'; see `PencilLoss`.

    Raises:
        ValueError: An option is out of range, a stage never starts, or the config is not that of a
            classifier which can learn so.
    """
    parts = SampleParts(cfg, 'pencil')
    # A network that has learned nothing yet would spoil the labels: only 0 leaves the stage out.
    first = 1 if correct_from else 0
    start = parts.stage_epoch('correct_from', correct_from, first)
    end = parts.stage_epoch('correct_until', correct_until)
    if start >= end:
        raise ValueError(
            f"`correct_until` of pencil must come after `correct_from`, but of the config's epochs "
            f'they are {end} and {start}: set them further apart, or train longer.'
        )
    _warn_of_batch_size(cfg, label_lr)
    parts.add(
        dict(
            type='PencilLoss',
            correct_from=start,
            correct_until=end,
            compatibility_weight=compatibility_weight,
            entropy_weight=entropy_weight,
            label_lr=label_lr,
            init_scale=init_scale,
            compatibility=compatibility,
        ),
    )


def _warn_of_batch_size(cfg: Config, label_lr: float) -> None:
    """Say where the authors' step size meets batches of another size than theirs."""
    batch_size = train_loader(cfg, 'pencil').get('batch_size', 1)
    if label_lr == LABEL_LR and not BATCH_SIZE / 2 <= batch_size <= BATCH_SIZE * 2:
        say(
            f'label_lr={label_lr:g} of pencil is for batches of {BATCH_SIZE}, those of all '
            f'processes together, but train_dataloader.batch_size is {batch_size}: with one '
            f'process, a step moves a label {BATCH_SIZE / batch_size:.3g} times as far as theirs. '
            f'Set it in proportion: pencil:label_lr={LABEL_LR * batch_size / BATCH_SIZE:g}.',
            logging.WARNING,
        )


METHOD = config_method(
    pencil,
    source='Yi and Wu, Probabilistic End-to-end Noise Correction for Learning with Noisy Labels, '
    'CVPR 2019, arXiv 1903.07788',
    changes='the loss of a classifier, which learns the numbers of its samples, and a hook',
    undo=remove_sample_parts,
    combines_with=('cutout',),
)
