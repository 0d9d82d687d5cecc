"""Online Label Smoothing."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor

from mmdet_ols.core import (
    CannotCompileError,
    RollOver,
    Samples,
    SoftLabels,
    SoftLabelState,
    can_fuse,
    can_fuse_on_gpu,
    compiled_library,
    fused_cross_entropy,
    fused_cross_entropy_on_gpu,
    has_fused_step,
    has_triton,
    may_select,
    mix_targets,
    rename_old_keys,
)
from mmdet_ols.core.arguments import check_choice, check_number
from mmdet_ols.losses.classification_loss import ClassificationLoss
from mmdet_ols.registry import register_model

SIGMOID_READINGS = ('normalized', 'softmax', 'mean')
#: What the options of a state are, where a loss leaves them out.
DEFAULTS: dict[str, Any] = dict(start='uniform', empty_class='keep', freeze_confidence=None)
#: The methods that the fused form stands for: a class that does one in its own way has none.
FUSED_METHODS = ('make_target', 'total_loss', 'learn')


@register_model
class OLSLoss(ClassificationLoss):
    r"""Cross entropy against the hard label and the class's online soft label together.

    Keeps, for every class, the mean prediction of its correctly classified samples in the last
    epoch, and learns from it. The soft labels change only in `update_soft_labels()`: `OLSHook`
    calls it in MMEngine's training, and your own loop calls it after every epoch. Validation never
    teaches. They are kept in `state`, a module of its own.

    .. math:: L = \alpha\,\mathrm{CE}(p, y) - (1 - \alpha)\sum_c S_{y,c}\log p_c

    Reference: `Delving Deep into Label Smoothing <https://arxiv.org/abs/2011.12562>`_, Eq. 3 to 6.
    The defaults follow the paper's text. The authors' CIFAR script is `start='zeros',
    empty_class='uniform'`; their fine-grained script adds `freeze_confidence=0.88` to a uniform
    start and weighs both parts with 1.0, which is `loss_weight=2.0` at `alpha=0.5`.

    The sigmoid form, which the paper does not define, is one binary cross entropy (or focal loss)
    for each score against the same mixed target; `sigmoid_reading` says how its soft labels are
    made.

    With `alpha=1` it equals MMDetection's (and, where the two agree, MMPretrain's)
    `CrossEntropyLoss`, or with `gamma` its `FocalLoss`, in value and gradient; but the mean of an
    empty batch is 0, not NaN, and rows with several ones are refused.

    Args:
        num_classes: Number of foreground classes, as the head's own `num_classes`.
        alpha: Share of the hard loss, in [0, 1] (0.5 in the paper).
        soft_row_threshold: A soft target row (mixup, CutMix) teaches its largest class if that
            class holds at least this share of the row, in (0, 1].
        sigmoid_reading: How predictions under `use_sigmoid` become soft labels: 'normalized' (the
            mean sigmoid scores, each row divided by its total), 'softmax' (the mean softmax of the
            same logits), or 'mean' (the mean sigmoid scores as they are; these rows need not sum to
            1).
        start: See `SoftLabelState`.
        empty_class: See `SoftLabelState`.
        freeze_confidence: See `SoftLabelState`.
        state: The soft labels, if they are to be those of another loss too: several losses with one
            state learn from each other's samples. None makes one for this loss. The options of
            a state (`start` and the two after it) are then its own, and may be left out.
        use_sigmoid: See `ClassificationLoss`, as for the arguments after it.
        background: See `ClassificationLoss`.
        reduction: See `ClassificationLoss`.
        loss_weight: See `ClassificationLoss`.
        class_weight: See `ClassificationLoss`.
        ignore_index: See `ClassificationLoss`.
        avg_non_ignore: See `ClassificationLoss`.
        gamma: See `ClassificationLoss`.
        balance: See `ClassificationLoss`.
        quality_beta: See `ClassificationLoss`.
        implementation: See `ClassificationLoss`. The fused form is for training a softmax on class
            indices, on a GPU only where 'fused' asks for it; other calls are computed plainly.

    Raises:
        ValueError: An argument, or a label on the CPU, is outside its range.
        TypeError: `state` is of another kind.

    Example:
        >>> criterion = OLSLoss(num_classes=3)
        >>> criterion(torch.zeros(2, 3), torch.tensor([0, 2]))
        tensor(1.0986)
        >>> _ = criterion.update_soft_labels()
    """

    has_fused_form = True
    has_rolling_state = True
    if TYPE_CHECKING:  # torch.jit.script of torch 2.1 stumbles over annotations of a class
        state_class: type[SoftLabelState]
    #: The kind of state that the loss works with.
    state_class = SoftLabels

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = (getattr(cls, name) is getattr(OLSLoss, name) for name in FUSED_METHODS)
        cls.has_fused_form = all(own)

    def __init__(
        self,
        num_classes: int,
        alpha: float = 0.5,
        *,
        soft_row_threshold: float = 0.8,
        sigmoid_reading: str = 'normalized',
        start: str = 'uniform',
        empty_class: str = 'keep',
        freeze_confidence: float | None = None,
        state: SoftLabelState | None = None,
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
        super().__init__(
            num_classes,
            use_sigmoid=use_sigmoid,
            background=background,
            reduction=reduction,
            loss_weight=loss_weight,
            class_weight=class_weight,
            ignore_index=ignore_index,
            avg_non_ignore=avg_non_ignore,
            gamma=gamma,
            balance=balance,
            quality_beta=quality_beta,
            implementation=implementation,
        )
        check_options(alpha, soft_row_threshold, sigmoid_reading, use_sigmoid)
        self.alpha = alpha
        self.soft_row_threshold = soft_row_threshold
        self.sigmoid_reading = sigmoid_reading
        options: dict[str, Any] = dict(
            start=start, empty_class=empty_class, freeze_confidence=freeze_confidence
        )
        if state is None:
            state = SoftLabels(
                num_classes, background, **options, divide_by=divisor(sigmoid_reading)
            )
        self._check_state(state, options)
        self.state = state
        # Of the class and the options; the rest is for each call to say.
        self._has_fused_step = (
            self.has_fused_form
            and has_fused_step(type(state))
            and not use_sigmoid
            and class_weight is None
        )
        if implementation == 'fused':
            if not has_fused_step(type(state)):
                raise ValueError(
                    f'{type(state).__name__} changes a part of the step that the fused form stands '
                    "for, but got implementation='fused': leave it out, or take 'compiled'."
                )
            if not (torch.cuda.is_available() and has_triton()):
                compiled_library()  # fails here, or not in the training

    def _check_state(self, state: SoftLabelState, options: dict[str, Any]) -> None:
        """Refuse a state that does not fit, and options that it does not have."""
        if not isinstance(state, self.state_class):
            raise TypeError(
                f'`state` of {type(self).__name__} must be a {self.state_class.__name__}, but got '
                f'a {type(state).__name__}.'
            )
        shape = dict(
            num_classes=self.num_classes,
            background=self.background,
            divide_by=divisor(self.sigmoid_reading),
        )
        for name, value in shape.items():
            if getattr(state, name) != value:
                raise ValueError(
                    f'`state` must have {name}={value!r}, as the loss needs it, but has '
                    f'{getattr(state, name)!r}.'
                )
        for name, value in options.items():
            check_option(state, name, value, DEFAULTS[name])

    # --- the state --------------------------------------------------------------------------------

    @property
    def soft_labels(self) -> Tensor:
        """The soft labels in use (C, C); row y is the target of class y."""
        return self.state.soft_labels

    @property
    def prob_sum(self) -> Tensor:
        """The sums of the probabilities of correct samples since the last roll-over (C, C)."""
        return self._so_far('prob_sum')

    @property
    def correct_count(self) -> Tensor:
        """How many samples went into each row of `prob_sum` (C,)."""
        return self._so_far('correct_count')

    @property
    def sample_count(self) -> Tensor:
        """How many samples could have gone into each row of `prob_sum` (C,)."""
        return self._so_far('sample_count')

    def _so_far(self, name: str) -> Tensor:
        """What was collected, including what this rank has seen and not yet shared."""
        if name not in self.state.collected:
            raise AttributeError(name)  # in whose place nn.Module raises one of its own
        return self.state.so_far()[name]

    def update_soft_labels(self, group: dist.ProcessGroup | None = None) -> RollOver:
        """Roll over: the sums of all ranks become the soft labels (paper, Eq. 6) and restart at 0.

        A collective call under `torch.distributed`: every rank of `group` must make it. Losses that
        share a state share its roll-over: one call is enough.
        """
        return self.state.update_soft_labels(group)

    def reduce_sums(self, group: dist.ProcessGroup | None = None) -> None:
        """Give every rank the sums of all; see `RollingState.reduce_sums`."""
        self.state.reduce_sums(group)

    def reset_sums(self) -> None:
        """Forget what was collected since the last roll-over."""
        self.state.reset_sums()

    def train(self, mode: bool = True) -> OLSLoss:
        """As `nn.Module.train`; warns when a training pass went by without a roll-over."""
        if mode:
            self.state.warn_without_roll_over(type(self).__name__)
        super().train(mode)
        return self

    def _replicate_for_data_parallel(self) -> OLSLoss:
        replica: OLSLoss = super()._replicate_for_data_parallel()
        replica.state = self.state._replicate_for_data_parallel()
        return replica

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        rename_old_keys(state_dict, self, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    # --- the loss ---------------------------------------------------------------------------------

    def fused_loss(
        self,
        logits: Tensor,
        label: Tensor,
        weight: Tensor | None,
        avg_factor: float | Tensor | None,
        reduction: str,
        ignore_index: int,
    ) -> Tensor | None:
        """By one function on a CPU, if all labels are classes, or by one kernel on a GPU.

        On a GPU only where 'fused' asks for it.
        """
        if not (
            self._has_fused_step
            and self.implementation in ('auto', 'fused')
            and self.training
            and (reduction == 'mean' or (reduction == 'sum' and avg_factor is None))
            and not 0 <= ignore_index < self.num_columns
            and not (isinstance(avg_factor, Tensor) and avg_factor.requires_grad)
        ):
            return None
        state: Any = self._modules['state']  # as `self.state`, in a tenth of the time
        on_gpu = self.implementation == 'fused' and can_fuse_on_gpu(
            logits, label, weight, avg_factor, state
        )
        if on_gpu and self.avg_non_ignore and avg_factor is None and reduction == 'mean':
            return None  # how many labels are ignored is not known here
        if not on_gpu and not can_fuse(logits, label, weight, state):
            return None
        factor, divisor = self.loss_weight, None
        if reduction == 'mean':
            eps = torch.finfo(torch.float32).eps  # as in `reduce_loss`
            if avg_factor is None:
                factor /= len(label)
            elif on_gpu and isinstance(avg_factor, Tensor):
                divisor = avg_factor + eps
            else:
                factor /= float(avg_factor) + eps
        try:
            if on_gpu:
                return fused_cross_entropy_on_gpu(
                    logits, label, weight, factor, divisor, self.alpha, ignore_index, state
                )
            return fused_cross_entropy(logits, label, weight, factor, self.alpha, state)
        except CannotCompileError as error:
            warnings.warn(
                "OLSLoss is computed operation by operation (implementation='plain', which also "
                f'silences this), which takes several times as long. {error}',
                stacklevel=2,
            )
            self.implementation = 'plain'
            return None

    def make_target(self, samples: Samples) -> Tensor:
        soft_labels = self.soft_labels.to(samples.logits.dtype)
        return mix_targets(samples.label, soft_labels, self.alpha, samples.valid)

    def learn(self, samples: Samples) -> None:
        """Hand the samples that may teach to the state; see `SoftLabelState.accumulate`."""
        logits, label = samples.logits, samples.label
        if samples.has_rows():
            rows = torch.where(samples.valid, label, 0)
            largest, label = rows.max(-1)
            teaches = (largest > 0) & (largest >= self.soft_row_threshold * rows.sum(-1))
        else:
            teaches = samples.valid
        teaches = teaches & (label < self.num_classes)
        if samples.weight is not None:
            teaches = teaches & (samples.weight != 0).any(-1)
        if self.use_sigmoid and may_select(teaches):  # of a dense head's anchors, 99 % do not
            logits, label = logits[teaches], label[teaches]
            teaches = teaches[teaches]
        sigmoid = self.use_sigmoid and self.sigmoid_reading != 'softmax'
        prob = logits.sigmoid() if sigmoid else logits.softmax(-1)
        self.state.accumulate(logits, prob, label, teaches)

    def extra_repr(self) -> str:
        reading = f', sigmoid_reading={self.sigmoid_reading!r}' if self.use_sigmoid else ''
        return f'alpha={self.alpha}{reading}, {super().extra_repr()}'


def check_options(
    alpha: float, soft_row_threshold: float, sigmoid_reading: str, use_sigmoid: bool
) -> None:
    """Raise a ValueError where an option of the loss itself is out of range or meaningless."""
    check_number('alpha', alpha, 'in [0, 1]', note=', the share of the hard loss,')
    check_number('soft_row_threshold', soft_row_threshold, 'in (0, 1]')
    check_choice('sigmoid_reading', sigmoid_reading, SIGMOID_READINGS)
    if sigmoid_reading != 'normalized' and not use_sigmoid:
        raise ValueError(
            f'`sigmoid_reading` is for sigmoid scores, but got {sigmoid_reading!r} without '
            'use_sigmoid=True: leave it out, or set that.'
        )


def divisor(sigmoid_reading: str) -> str:
    """What a state divides its sums by, as this reading needs it (`divide_by`)."""
    return 'count' if sigmoid_reading == 'mean' else 'total'


def check_option(state: SoftLabelState, name: str, value: Any, default: Any) -> None:
    """Refuse an option of a state that was passed in, unless it was left out or agrees."""
    if value not in (default, getattr(state, name, value)):
        raise ValueError(
            f'`{name}` is an option of the state, which was made with {getattr(state, name)!r}, '
            f'but got {value!r}: leave it out.'
        )
