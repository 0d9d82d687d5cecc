"""A classification loss of a head as loops over its single samples."""

from __future__ import annotations

from reference import Reference
from torch import nn

from mmdet_ols import OLSLoss

#: The share of the label that the loop for label smoothing smooths.
EPSILON = 0.3


class NaiveLoss(nn.Module):
    """What stands in a head's `loss_cls`, as loops over its single samples."""

    def __init__(self, criterion):
        super().__init__()
        self.use_sigmoid, self.reduction = criterion.use_sigmoid, criterion.reduction
        self.loss_weight = criterion.loss_weight
        self.counts_scores = criterion.use_sigmoid and criterion.quality_beta is None
        self.learns = isinstance(criterion, OLSLoss)
        arguments = dict(
            alpha=0.5 if self.learns else 1 - EPSILON,
            use_sigmoid=criterion.use_sigmoid,
            background=criterion.background,
            gamma=criterion.gamma,
            balance=criterion.balance,
            quality_beta=criterion.quality_beta,
        )
        self.reference = Reference(criterion.num_classes, **arguments)
        if not self.learns:  # label smoothing: the same for every column, background or not
            size = self.reference.size
            self.reference.soft_labels = [[1 / size] * size] * size

    def forward(self, cls_score, label, weight=None, avg_factor=None, reduction_override=None):
        assert reduction_override is None
        # In double precision: the loop's log(1 - p) is less exact than a log-sigmoid.
        scores = cls_score.reshape(-1, self.reference.size).double()
        if isinstance(label, tuple):  # with the qualities of the boxes
            labels = [
                [quality if k == y else 0.0 for k in range(self.reference.size)]
                for y, quality in zip(*(part.tolist() for part in label))
            ]
        else:
            labels = label.reshape(len(scores), -1).squeeze(1).tolist()
        weights = [1.0] * len(scores) if weight is None else weight.flatten().tolist()
        assert len(labels) == len(weights) == len(scores)
        total = 0 * scores.sum()
        for sample, y, w in zip(scores, labels, weights):
            if w != 0:
                total = total + w * sum(self.reference.loss(sample, y))
            if self.learns:
                self.reference.learn(sample.detach(), y, w)
        if self.reduction == 'mean':
            terms = scores.numel() if self.counts_scores else len(scores)
            total = total / (terms if avg_factor is None else avg_factor)
        # MMYOLO asks YOLOv8's loss for single terms (reduction='none') and adds them up itself.
        return self.loss_weight * total.to(cls_score.dtype)
