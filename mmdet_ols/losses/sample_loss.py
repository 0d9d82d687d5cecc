"""The base class of losses that learn something about each training sample."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmdet_ols.core import (
    SampleState,
    cross_entropy,
    label_rows,
    reduce_loss,
    teaching_allowed,
)
from mmdet_ols.losses.checks import check_labels, check_shapes
from mmdet_ols.losses.classification_loss import ClassificationLoss
from mmdet_ols.losses.flat_batch import flat_weight


class SampleLoss(ClassificationLoss):
    """Softmax cross entropy of classifiers, changed by what is known about each sample.

    A call in training needs `sample_idx`, the numbers of its samples; `SampleClassifier` hands them
    on. Outside of training it is the plain cross entropy.

    A method derives from it and says what a sample costs (`sample_losses`). If it needs a pass over
    all samples at the end of an epoch, it says so (`has_pass`), when (`wants_pass`), what to
    compute of a batch (`measure`) and what follows from it (`take`); `SampleStateHook` does the
    pass.

    Args:
        num_classes: Number of classes.
        state: What is kept about each sample.
        use_sigmoid: Must be False: the methods are defined for softmax scores.
        reduction: 'mean', 'sum' or 'none'.
        loss_weight: Factor of the loss.
        class_weight: A weight for each class, in the cross entropy.
        ignore_index: Label that costs nothing and teaches nothing; None means -100.

    Raises:
        ValueError: An argument, or a label on the CPU, is outside its range.
    """

    samples_are_independent = False
    state: SampleState
    #: Whether there are passes over all samples (`wants_pass`): the first before `correct_from`.
    has_pass = False
    correct_from = 0
    #: Whether they see augmented images.
    augmented = False

    def __init__(
        self,
        num_classes: int,
        state: SampleState,
        use_sigmoid: bool = False,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
        class_weight: Sequence[float] | None = None,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__(
            num_classes,
            use_sigmoid=use_sigmoid,
            reduction=reduction,
            loss_weight=loss_weight,
            class_weight=class_weight,
            ignore_index=ignore_index,
        )
        if use_sigmoid:
            raise ValueError(
                f'{type(self).__name__} is defined for softmax scores, of which one class a sample '
                'is right, but got use_sigmoid=True: leave it out, or take another loss.'
            )
        self.state = state
        #: Epochs that the training has behind it, and its seed.
        self.epoch, self.seed = 0, 0

    def begin_epoch(self, epoch: int, seed: int | None = None) -> None:
        """Say which epoch begins; `SampleStateHook` does.

        Args:
            epoch: Counted from 0.
            seed: Of the run, from which random choices follow; None keeps the last one, or 0.
        """
        self.epoch = epoch
        if seed is not None:
            self.seed = seed
        if self.has_pass and epoch >= self.correct_from and not self.state.is_known:
            warnings.warn(
                f'{type(self).__name__} corrects no label yet, although it should from epoch '
                f'{self.correct_from} on, since the training samples were not measured: call '
                '`take` with their values at the end of each epoch for which `wants_pass()` is '
                'True, or add SampleStateHook.',
                stacklevel=2,
            )

    def sample_losses(self, logits: Tensor, rows: Tensor, sample_idx: Tensor) -> Tensor:
        """Return what each sample costs in a training step, (B,); not weighted yet.

        Args:
            logits: (B, C), float32 or wider.
            rows: The labels as target rows (B, C); zeros where a label is ignored.
            sample_idx: Numbers of the samples, (B,).
        """
        raise NotImplementedError

    # --- the pass at the end of an epoch ----------------------------------------------------------

    def wants_pass(self) -> bool:
        """Whether all samples are to be measured at the end of this epoch."""
        return False

    def measure(
        self, classifier: Any, inputs: Tensor, data_samples: list[Any]
    ) -> dict[str, Tensor]:
        """Measure a batch, in eval mode and without gradients; each value has B rows."""
        raise NotImplementedError

    def take(self, measured: dict[str, Tensor]) -> str:
        """Learn from what was measured of all samples, in the order of their numbers.

        Every rank gets the values of all samples, and has to draw the same conclusions.

        Returns:
            A sentence for the log.
        """
        raise NotImplementedError

    # --- the call ---------------------------------------------------------------------------------

    @torch.jit.unused
    def forward(  # type: ignore[override]
        self,
        cls_score: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
        ignore_index: int | None = None,
        sample_idx: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of a batch and, in training, learn about its samples.

        Args:
            cls_score: Logits (B, C).
            label: Class indices (B,), or target rows (B, C).
            weight: Weight of each sample, (B,) or (B, 1).
            avg_factor: Divisor of the sum instead of the number of samples ('mean' only).
            reduction_override: Replaces `reduction` in this call.
            ignore_index: Replaces the configured one in this call.
            sample_idx: Numbers of the samples, (B,), integers; needed in training.

        Returns:
            A scalar; with reduction 'none' (B,).

        Raises:
            ValueError: The numbers are missing in training, or do not match the scores.
        """
        reduction = self._reduction_of_call(reduction_override)
        ignore_index = self.ignored_label if ignore_index is None else ignore_index
        check_shapes(self, cls_score, label)
        if cls_score.dim() != 2:
            raise ValueError(
                f'`cls_score` of {type(self).__name__} must hold a row for each sample, (B, '
                f'{self.num_classes}), but got shape {tuple(cls_score.shape)}.'
            )
        # An entry of a row is a share, and not the index of a class that may be ignored.
        valid = label != ignore_index if label.dim() == 1 else label >= 0
        check_labels(self, label, valid)
        logits = cls_score.to(torch.promote_types(cls_score.dtype, torch.float32))
        rows = label_rows(label, self.num_classes, valid, logits.dtype)
        if self.training and teaching_allowed() and torch.is_grad_enabled():
            loss = self.sample_losses(logits, rows, self._numbers(sample_idx, len(logits)))
        elif sample_idx is not None and self.training:  # a trial step has the loss of a real one
            loss = self.sample_losses(logits, rows, sample_idx)
        else:
            loss = self.plain_losses(logits, rows)
        if weight is not None:
            loss = loss * flat_weight(self, weight, cls_score).squeeze(1)
        loss = reduce_loss(loss, reduction, avg_factor)
        return loss if self.loss_weight == 1 else self.loss_weight * loss

    def plain_losses(self, logits: Tensor, rows: Tensor) -> Tensor:
        """The cross entropy of each sample, (B,)."""
        return cross_entropy(logits, rows, self._column_weight_beside(logits))

    @property
    def learns(self) -> bool:
        """Whether a step that is computed now may teach."""
        return self.state.learns and torch.is_grad_enabled()

    def _numbers(self, sample_idx: Tensor | None, count: int) -> Tensor:
        if sample_idx is None or sample_idx.shape != (count,) or sample_idx.is_floating_point():
            got = None if sample_idx is None else (tuple(sample_idx.shape), sample_idx.dtype)
            raise ValueError(
                f'{type(self).__name__} needs the number of each of the {count} samples in '
                f'training, `sample_idx` of shape ({count},), but got {got}: take '
                "type='SampleClassifier' and put NumberedDataset around the training data, or hand "
                'the indices of your own data set to the loss.'
            )
        return sample_idx
