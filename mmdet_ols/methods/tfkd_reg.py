"""Tf-KD_reg: knowledge distillation without a teacher."""

from __future__ import annotations

from typing import Any

from mmdet_ols.methods.classification_losses import HeadLoss
from mmdet_ols.methods.method import loss_method


def tfkd_reg(
    loss: HeadLoss,
    *,
    alpha: float = 0.95,
    temperature: float = 40.0,
    multiplier: float = 1.0,
    form: str = 'released',
    correct_prob: float = 0.99,
) -> dict[str, Any]:
    """Learn from the label and from a made-up teacher who is nearly always right.

    The defaults are those of the authors of OLS for MobileNetV2 on fine-grained data; for ResNet-50
    they take `temperature=6`. In its released form the loss is then about 18 times smaller than a
    cross entropy over 200 classes; `form=fair` is on the scale of a cross entropy, and nearly label
    smoothing by `alpha`: give it a small one, such as 0.1.

    Args:
        loss: The loss that is replaced.
        alpha: Share of the teacher, in [0, 1]; 0 is the plain cross entropy.
        temperature: Temperature of the teacher's distribution, above 0.
        multiplier: Factor of the teacher's part, not negative (1 to 100 in the original).
        form: 'released' (mean over samples and classes) or 'fair' (over samples).
        correct_prob: What the teacher gives to the right class before the temperature.
    """
    return dict(
        alpha=alpha,
        temperature=temperature,
        multiplier=multiplier,
        form=form,
        correct_prob=correct_prob,
    )


METHOD = loss_method(
    tfkd_reg,
    loss='TfKDRegLoss',
    source='Yuan et al., Revisiting Knowledge Distillation via Label Smoothing Regularization, '
    'CVPR 2020, arXiv 1909.11723',
)
