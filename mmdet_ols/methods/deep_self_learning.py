"""Deep self-learning: a second label from the prototypes of the classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmdet_ols.methods.method import config_method
from mmdet_ols.methods.sample_parts import SampleParts, remove_sample_parts

if TYPE_CHECKING:
    from mmengine.config import Config


def deep_self_learning(
    cfg: Config,
    *,
    share: float = 0.5,
    start: float = 1 / 3,
    samples_per_class: int = 1280,
    prototypes: int = 8,
    top_share: float = 0.4,
    threshold: float = 0.95,
    selection: str = 'density',
    augmented: bool = False,
) -> None:
    """Learn from the given label and from that of the most similar prototypes.

    The paper starts after 5 epochs, with a network that was trained before (`start=5`). A network
    that starts from random weights has to learn first, so the default is a third of the epochs.

    Args:
        cfg: The config; it is changed.
        share: Share of the corrected label, in [0, 1].
        start: When corrected labels begin to count: a share of the config's epochs below 1, or a
            number of epochs, at least 1.
        samples_per_class: How many samples of a class choose its prototypes; all of them where
            there are fewer.
        prototypes: How many prototypes a class has.
        top_share: Share of all pairs that count as similar.
        threshold: Largest similarity of a prototype to one of higher density.
        selection: 'density' (the paper's) or 'smallest_similarity' (an unofficial code's).
        augmented: Whether features are those of augmented images; needed where there is no
            validation set to take a plain pipeline from.

    Raises:
        ValueError: An option is out of range, the start lies behind the end, or the config is not
            that of a classifier which can learn so.
    """
    parts = SampleParts(cfg, 'deep_self_learning')
    parts.add(
        dict(
            type='DeepSelfLearningLoss',
            share=share,
            correct_from=parts.stage_epoch('start', start, first=1),
            samples_per_class=samples_per_class,
            prototypes=prototypes,
            top_share=top_share,
            threshold=threshold,
            selection=selection,
            augmented=augmented,
        ),
    )


METHOD = config_method(
    deep_self_learning,
    source='Han et al., Deep Self-Learning From Noisy Labels, ICCV 2019, arXiv 1908.02160',
    changes='the loss of a classifier, which learns the numbers of its samples, and a hook that '
    'looks at all training images after each epoch',
    undo=remove_sample_parts,
    combines_with=('cutout',),
)
