"""Tf-KD_self: knowledge distillation from the network's own earlier training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmdet_ols.methods.classifiers import only_head, replace_classifier, restore_classifier
from mmdet_ols.methods.method import NeededRun, config_method

if TYPE_CHECKING:
    from mmengine.config import Config


def tfkd_self(
    cfg: Config,
    *,
    teacher: str | None = None,
    alpha: float = 0.95,
    temperature: float = 6.0,
    multiplier: float | None = None,
    form: str = 'released',
) -> None:
    """Learn from the label and from a network of the same architecture that was trained before.

    The defaults are the original's for ResNet-18 on CIFAR-100. It takes `temperature=20` with
    `multiplier=1` for MobileNetV2, and 50 or 100 for larger networks, always with 100 classes.

    Args:
        cfg: The config; it is changed.
        teacher: The trained network's checkpoint, which has to be there when a training starts.
            `tools/compare.py` trains it first, with hard labels and the same seed, if it is not
            named.
        alpha: Share of the teacher, in [0, 1].
        temperature: Temperature of both predictions.
        multiplier: Factor of the teacher's part; None means half the number of classes in the form
            'released' (50 for CIFAR-100), else 1.
        form: 'released' (mean over samples and classes) or 'fair' (over samples).

    Raises:
        ValueError: The model is no plain classifier, or an option is out of range.
    """
    only_head(cfg, 'tfkd_self')
    replace_classifier(
        cfg,
        'SelfTaughtClassifier',
        dict(alpha=alpha, temperature=temperature, multiplier=multiplier, form=form),
        teacher=teacher,
    )


METHOD = config_method(
    tfkd_self,
    source='Yuan et al., Revisiting Knowledge Distillation via Label Smoothing Regularization, '
    'CVPR 2020, arXiv 1909.11723',
    changes='the classifier (SelfTaughtClassifier), which gets a teacher',
    undo=restore_classifier,
    needs=NeededRun(method='hard', option='teacher', entry='model.teacher'),
    combines_with=('cutout',),
)
