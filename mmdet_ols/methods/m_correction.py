"""M-correction: a mixture model of the losses says which labels to correct."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmdet_ols.methods.method import config_method
from mmdet_ols.methods.sample_parts import SampleParts, remove_sample_parts

if TYPE_CHECKING:
    from mmengine.config import Config


def m_correction(
    cfg: Config,
    *,
    bootstrapping: str = 'hard',
    start: float = 106 / 300,
    wrong_by: str = 'batch',
    mixup_alpha: float = 32.0,
    prior_weight: float = 1.0,
    em_iterations: int = 10,
    augmented: bool = True,
) -> None:
    """Correct the labels whose losses look like those of wrong ones, and mix images in pairs.

    The defaults are those of the authors' M-DYR-H, whose 300 epochs are stretched over those of the
    config: `start=106` is theirs. The learning rate stays the config's own; the labels are told
    apart best while it is still high, since wrong labels are not memorised then.

    Args:
        cfg: The config; it is changed.
        bootstrapping: 'hard' corrects by the predicted class, 'soft' by all predicted
            probabilities.
        start: When labels begin to be corrected: a share of the config's epochs below 1, or a
            number of epochs, at least 1. Before, images and labels are mixed only.
        wrong_by: What says that a label is wrong: the loss of the sample at this moment ('batch',
            the released code) or in the last pass over the data ('epoch').
        mixup_alpha: Images are mixed by shares from Beta(alpha, alpha); 0 does not mix.
        prior_weight: How strongly the mean prediction is kept even over the classes.
        em_iterations: How often the mixture model is improved after an epoch.
        augmented: Whether the pass over the data sees augmented images (the released code) or plain
            ones.

    Raises:
        ValueError: An option is out of range, the start lies behind the end, or the config is not
            that of a classifier which can learn so.
    """
    head = (cfg.get('model') or {}).get('head') or {}
    if isinstance(head, dict) and head.get('cal_acc'):
        raise ValueError(
            'm_correction trains on mixed images, of which no accuracy can be told, but the head '
            'has cal_acc=True: remove it.'
        )
    parts = SampleParts(cfg, 'm_correction')
    parts.add(
        dict(
            type='MCorrectionLoss',
            bootstrapping=bootstrapping,
            correct_from=parts.stage_epoch('start', start, first=1),
            wrong_by=wrong_by,
            mixup_alpha=mixup_alpha,
            prior_weight=prior_weight,
            em_iterations=em_iterations,
            augmented=augmented,
        ),
        classifier='MCorrectionClassifier',
    )


METHOD = config_method(
    m_correction,
    source='Arazo et al., Unsupervised Label Noise Modeling and Loss Correction, ICML 2019, arXiv '
    '1904.11238',
    changes='the loss and the training step of a classifier, which learns the numbers of its '
    'samples, and a hook that looks at all training images after each epoch',
    undo=remove_sample_parts,
    combines_with=('cutout',),
)
