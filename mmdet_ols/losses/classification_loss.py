"""The calling convention of the hosts' classification losses, once for every method."""

from __future__ import annotations

import functools
import inspect
import operator
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmdet_ols.core import (
    REDUCTIONS,
    CannotCompileError,
    Samples,
    binary_cross_entropy,
    binary_focal_loss,
    count_columns,
    cross_entropy,
    is_transformed,
    learn_under_transforms,
    may_select,
    quality_focal_loss,
    reduce_loss,
    teaching_allowed,
)
from mmdet_ols.core.arguments import check_choice
from mmdet_ols.core.compat import is_compiling
from mmdet_ols.losses.checks import (
    check_class_weight,
    check_devices,
    check_focal_form,
    check_ignored_class,
    check_implementation,
    check_labels,
    refuse_heat_maps,
    warn_in_eval_mode,
    warn_of_probabilities,
    with_remedies,
)
from mmdet_ols.losses.flat_batch import flat_batch

IMPLEMENTATIONS = ('auto', 'plain', 'fused', 'compiled')


class ClassificationLoss(nn.Module):
    """Cross entropy of any form that the hosts' heads use, against a target of the method's own.

    A method derives from it and says what its target is (`make_target`). If there is more to it, it
    also says what else a sample costs (`total_loss`) and what it learns from a batch (`learn`).
    It is called as MMDetection's and MMPretrain's own losses are.

    Args:
        num_classes: Number of foreground classes, as the head's own `num_classes`.
        use_sigmoid: Independent sigmoid scores instead of a softmax.
        background: Whether the scores have one more column, the last, for the background (as in
            MMDetection's softmax heads).
        reduction: 'mean', 'sum' or 'none'.
        loss_weight: Factor of the loss.
        class_weight: A weight for each score column. Under sigmoid it applies to the positive
            part, as in MMDetection.
        ignore_index: Label that costs nothing and teaches nothing; None means -100.
        avg_non_ignore: Whether the mean (without `avg_factor`) leaves out ignored labels.
        gamma: Exponent of the focal form, which dense heads rely on (2.0 in MMDetection's
            `FocalLoss`); 0 is the plain cross entropy. Needs `use_sigmoid`.
        balance: Factor of the positive part in the focal form, in [0, 1], against 1 - balance of
            the negative part (`alpha` of MMDetection's `FocalLoss`, 0.25 there); None leaves both
            at 1. Needs `use_sigmoid`.
        quality_beta: Exponent of the quality focal form (2.0 in MMDetection's `QualityFocalLoss`),
            in which a label comes with the quality of its box and the target is multiplied by it;
            None is another form. Needs `use_sigmoid`.
        implementation: How the loss is computed; all give the same numbers up to rounding. 'plain'
            runs PyTorch's operations one by one; 'compiled' lets `torch.compile` make one operation
            of them at the first call, and falls back to 'plain' with a warning where that fails;
            'fused' is `OLSLoss`'s own compiled function, or on a GPU its kernel in Triton; 'auto'
            takes 'fused' on a CPU where it is possible, and 'plain' elsewhere.

    Raises:
        ValueError: An argument, or a label on the CPU, is outside its range.
    """

    #: Whether there is a `fused_loss`.
    has_fused_form = False
    #: Whether what a sample costs depends on no other sample.
    samples_are_independent = True
    #: Whether it keeps a `RollingState`, in its attribute `state`, that something must roll over.
    has_rolling_state = False
    warned_in_eval_mode = False
    looked_for_probabilities = False
    #: What `torch.jit.script` leaves out of a model that holds the loss.
    __jit_ignored_attributes__ = ('state',)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if '__init__' in vars(cls):
            cls.__init__ = with_remedies(cls.__init__)  # type: ignore[method-assign]
        properties = inspect.getmembers(cls, lambda member: isinstance(member, property))
        cls.__jit_unused_properties__ = [name for name, _ in properties]  # type: ignore[attr-defined]

    def __init__(
        self,
        num_classes: int,
        use_sigmoid: bool = False,
        background: bool = False,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
        class_weight: Sequence[float] | None = None,
        ignore_index: int | None = None,
        avg_non_ignore: bool = False,
        gamma: float = 0.0,
        balance: float | None = None,
        quality_beta: float | None = None,
        implementation: str = 'auto',
    ) -> None:
        super().__init__()
        self.num_columns = count_columns(num_classes, background)
        check_choice('reduction', reduction, REDUCTIONS)
        check_class_weight(class_weight, num_classes, background)
        check_focal_form(gamma, balance, quality_beta, use_sigmoid)
        check_implementation(implementation, IMPLEMENTATIONS, type(self))
        self.num_classes = operator.index(num_classes)
        self.background = background
        self.implementation = implementation
        self.use_sigmoid = use_sigmoid
        self.reduction = reduction
        self.loss_weight = loss_weight
        self.class_weight = class_weight
        # No buffer: loaders that make a model on the meta device, as Transformers does, leave one
        # that is in no checkpoint with what happened to be in memory.
        self.column_weight: Tensor | None = None
        if class_weight is not None:
            weight = torch.as_tensor(class_weight, dtype=torch.float32, device='cpu')
            self.column_weight = weight.detach().clone()
        self.ignore_index = ignore_index
        self.avg_non_ignore = avg_non_ignore
        self.gamma = gamma
        self.balance = balance
        self.quality_beta = quality_beta

    def make_target(self, samples: Samples) -> Tensor:
        """Return what the method wants the scores to be.

        Returns:
            Target rows (N, C); zero where the sample has no class.
        """
        raise NotImplementedError

    def total_loss(self, cross_entropy: Tensor, samples: Samples) -> Tensor:
        """Return what a sample costs: its cross entropy, and whatever else the method adds to it.

        Args:
            cross_entropy: Against the target, (N, 1), under sigmoid (N, C); with `class_weight`.
            samples: As `make_target` gets them.

        Returns:
            In the shape of `cross_entropy`; not weighted yet. Under softmax 0 where a sample has no
            class; under sigmoid ignored scores are left out afterwards.
        """
        return cross_entropy

    def learn(self, samples: Samples) -> None:
        """Look at a batch that is trained on, after its loss; most methods need not."""

    @property
    def ignored_label(self) -> int:
        """The label that costs nothing, where a call names no other one."""
        return -100 if self.ignore_index is None else self.ignore_index

    @property
    def counts_scores(self) -> bool:
        """Whether a mean counts each score, as of binary cross entropies, and not each sample."""
        return self.use_sigmoid and self.quality_beta is None

    def _reduction_of_call(self, override: str | None) -> str:
        if override is None:
            return self.reduction
        check_choice('reduction_override', override, REDUCTIONS)
        return override

    @torch.jit.unused  # so that a model that only holds the loss can be scripted
    def forward(
        self,
        cls_score: Tensor,
        label: Tensor | tuple[Tensor, Tensor],
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
        ignore_index: int | None = None,
        pos_inds: Tensor | None = None,
        pos_labels: Tensor | None = None,
    ) -> Tensor:
        """Return the loss and, in training, let the method learn from the batch.

        Args:
            cls_score: Logits (..., C) of any float dtype; computed in float32 at least.
            label: Class indices (...,), or target rows (..., C): one-hot, soft (mixup), scaled
                (YOLOX: times an IoU), or zero (a negative). Under sigmoid, the index C (and any
                negative index) is background: a zero row (an ignored row). In the quality focal
                form also class indices and the qualities in [0, 1], (...,) each; an index that is
                no class is background.
            weight: Weight of each sample, (...,) or (..., 1), or under sigmoid of each score.
                Samples of weight 0 teach nothing.
            avg_factor: Divisor of the sum instead of the number of elements ('mean' only).
            reduction_override: Replaces `reduction` in this call. A head that tries the loss out
                by 'none' teaches nothing (`Samples.is_trial`).
            ignore_index: Replaces the configured one in this call.
            pos_inds: Must be None: MMDetection's CenterNetUpdateHead sends it, whose targets are
                heat maps and no classes.
            pos_labels: As `pos_inds`.

        Returns:
            A scalar; with reduction 'none' the element-wise losses, (..., C) for sigmoid and (...,)
            for softmax and the quality focal form. An empty batch gives 0 with a graph.
        """
        if pos_inds is not None or pos_labels is not None:
            refuse_heat_maps(self)
        reduction = self._reduction_of_call(reduction_override)
        ignore_index = self.ignored_label if ignore_index is None else ignore_index
        logits, label, weight = flat_batch(self, cls_score, label, weight)
        as_rows = label.dim() == 2
        if as_rows:
            check_ignored_class(self, ignore_index)
        if self.training and not self.looked_for_probabilities:
            warn_of_probabilities(self, logits)
        loss = self.fused_loss(logits, label, weight, avg_factor, reduction, ignore_index)
        if loss is not None:
            return loss
        if self.has_rolling_state and not self.training:
            warn_in_eval_mode(self, logits)
        if weight is not None and self._may_leave_out(weight, avg_factor, reduction):
            rows = weight.any(-1).nonzero().squeeze(1)
            if len(rows) < len(weight):
                if avg_factor is None and reduction == 'mean':
                    avg_factor = logits.numel() if self.counts_scores else len(logits)
                logits, label, weight = (
                    tensor.index_select(0, rows) for tensor in (logits, label, weight)
                )
        valid = label != ignore_index
        if as_rows or self.use_sigmoid:
            valid = valid & (label >= 0)
        check_labels(self, label, valid)
        loss = self._run(Samples(logits, label, valid, weight, avg_factor, reduction))
        if reduction == 'none':
            loss = loss.reshape(cls_score.shape if self.counts_scores else cls_score.shape[:-1])
        return loss

    def fused_loss(
        self,
        logits: Tensor,
        label: Tensor,
        weight: Tensor | None,
        avg_factor: float | Tensor | None,
        reduction: str,
        ignore_index: int,
    ) -> Tensor | None:
        """Compute a whole call by the method's own compiled function, if it has one for it.

        Args:
            logits: (N, C), of the caller's dtype.
            label: Class indices (N,), or rows (N, C), not checked yet.
            weight: (N, 1), under sigmoid possibly (N, C), or None.
            avg_factor: As in `forward`.
            reduction: As in `forward`.
            ignore_index: As in `forward`.

        Returns:
            The loss, reduced; None to compute it operation by operation.
        """
        return None

    def _may_leave_out(
        self, weight: Tensor, avg_factor: float | Tensor | None, reduction: str
    ) -> bool:
        """Whether samples of weight 0 can be left out: of a YOLO head's, about 99 % are.

        They cost nothing, whatever their scores; but a mean may have to count them.
        """
        counted = self.avg_non_ignore and avg_factor is None and reduction == 'mean'
        return (
            self.samples_are_independent
            and reduction != 'none'
            and not counted
            and not weight.requires_grad
            and may_select(weight)
        )

    def _run(self, samples: Samples) -> Tensor:
        """`_compute`, compiled if that was asked for and can be."""
        if self.implementation != 'compiled' or is_compiling():
            check_devices(self, samples.logits, samples.label)
            return self._compute(samples)
        from torch._dynamo.exc import TorchDynamoException

        avg_factor = samples.avg_factor
        if avg_factor is not None and not isinstance(avg_factor, Tensor):
            # As a number it would be a constant, recompiled for each; on the CPU it would keep a
            # GPU's graph from being captured.
            avg_factor = torch.full(
                (), avg_factor, dtype=torch.float32, device=samples.logits.device
            )
            samples = samples._replace(avg_factor=avg_factor)
        try:
            return _compiled_compute()(self, samples)
        except (TorchDynamoException, CannotCompileError) as error:
            warnings.warn(
                f'{type(self).__name__} could not be compiled, and is computed operation by '
                f"operation from now on (implementation='plain'): {error}",
                stacklevel=2,
            )
            self.implementation = 'plain'
            return self._compute(samples)

    def _compute(self, samples: Samples) -> Tensor:
        """The loss of a flat batch; with reduction 'none' (N, 1) or, of each score, (N, C)."""
        logits, label, valid, weight, avg_factor, reduction = samples
        by_index = not samples.has_rows()
        # What the method gets: scores of enough precision, and no index without a column.
        samples = Samples(
            logits.to(torch.promote_types(logits.dtype, torch.float32)),
            label,
            valid & (label < self.num_columns) if self.use_sigmoid and by_index else valid,
            weight,
            avg_factor,
            reduction,
        )
        target = self.make_target(samples)
        if self.use_sigmoid:
            loss = self._sigmoid_loss(samples.logits, target)
        else:
            loss = cross_entropy(samples.logits, target, self._column_weight_beside(logits))[
                :, None
            ]
        loss = self.total_loss(loss, samples)
        if self.use_sigmoid:
            loss = loss * (valid[:, None] if by_index else valid)
        if weight is not None:
            loss = loss * weight
        if self.quality_beta is not None:
            loss = loss.sum(-1, keepdim=True)
        if self.avg_non_ignore and avg_factor is None and reduction == 'mean':
            avg_factor = valid.sum() * (self.num_columns if self.counts_scores and by_index else 1)
        loss = reduce_loss(loss, reduction, avg_factor)
        if self.loss_weight != 1:
            loss = self.loss_weight * loss
        # A call without a graph trains nothing: OHEM tries a loss out before it is trained on.
        learns = self.training and torch.is_grad_enabled() and teaching_allowed()
        if learns and not samples.is_trial(self.reduction):
            samples = Samples(samples.logits.detach(), *samples[1:])
            if is_transformed():
                learn_under_transforms(self.learn, samples, self.buffers())
            else:
                self.learn(samples)
        return loss

    def _sigmoid_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        weight = self._column_weight_beside(logits)
        if self.quality_beta is not None:
            return quality_focal_loss(logits, target, self.quality_beta, weight)
        if self.gamma or self.balance is not None:
            return binary_focal_loss(logits, target, self.gamma, self.balance, weight)
        return binary_cross_entropy(logits, target, weight)

    def _column_weight_beside(self, logits: Tensor) -> Tensor | None:
        """The weight of each column, kept where the logits are, since copying synchronises."""
        weight = self.column_weight
        if weight is None or weight.device == logits.device:
            return weight
        moved = weight.to(logits.device)
        # Made in inference mode, as in Lightning's first validation, it could train nothing later.
        if torch.is_grad_enabled() and not moved.is_meta:
            self.column_weight = moved
        return moved

    def extra_repr(self) -> str:
        focal = f', gamma={self.gamma}, balance={self.balance}' if self.counts_scores else ''
        if self.quality_beta is not None:
            focal = f', quality_beta={self.quality_beta}'
        return (
            f'num_classes={self.num_classes}, use_sigmoid={self.use_sigmoid}, '
            f'background={self.background}, reduction={self.reduction!r}, '
            f'loss_weight={self.loss_weight}{focal}'
        )


@functools.cache
def _compiled_compute() -> Callable[..., Tensor]:
    # Of the class, not of a loss: a bound method would follow a loss into its copies.
    try:
        return torch.compile(ClassificationLoss._compute)
    except RuntimeError as error:  # not on this platform
        raise CannotCompileError(str(error)) from error
