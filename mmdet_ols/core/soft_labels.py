"""The soft labels of Online Label Smoothing: what is kept, and the only code that changes it."""

from __future__ import annotations

import operator
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from mmdet_ols.core.arguments import check_choice, check_number
from mmdet_ols.core.rolling_state import RollingState, Sums
from mmdet_ols.core.score_columns import count_columns
from mmdet_ols.core.transforms import hides_values

STARTS = ('uniform', 'zeros', 'label_smoothing', 'hard')
EMPTY_CLASS_RULES = ('keep', 'uniform')
DIVISORS = ('total', 'count')
#: A roll-over makes new rows of some 16 MB at a time; all of 21,841 classes are 1.9 GB.
BLOCK_ENTRIES = 2**22
#: What the dense soft labels collect since the last roll-over.
SUMS = ('prob_sum', 'correct_count', 'sample_count')


class RollOver(NamedTuple):
    """What one period taught; 0-dimensional float32 tensors over the foreground classes."""

    #: Share of the samples seen that were classified correctly, in [0, 1]; NaN if none was seen.
    correct_share: Tensor
    #: Number of classes without a correctly classified sample.
    empty_classes: Tensor
    #: Mean over the classes of the probability that a soft label gives its own class, in [0, 1].
    confidence: Tensor
    #: Mean entropy of the soft labels (as shares of their rows) in nats, in [0, ln C].
    entropy: Tensor


class SoftLabelState(RollingState):
    """One soft label for each class: the mean prediction of its correct samples last period.

    Base of `SoftLabels` and its kin, which differ in how they keep the rows. A loss calls
    `accumulate` in every training step and reads the soft labels; whatever drives the training
    calls `update_soft_labels` once an epoch.

    C, the number of score columns, is `num_classes`, plus one (the last) with `background`.

    Args:
        num_classes: Number of foreground classes.
        background: Whether the scores have a last column for the background, as MMDetection's
            softmax heads do. That class keeps its plain hard label.
        start: The soft labels of the first period. 'uniform' (1/C, the paper's text), 'zeros' (as
            the authors' CIFAR code: the soft loss of a softmax is absent at first; that of sigmoid
            scores says at first that a sample is of no class), 'label_smoothing' (0.9 for the class
            itself, 0.1 / (C - 1) for the others, as ankandrew's port), or 'hard' (1 for the class
            itself; with `empty_class='keep'`, a class thus keeps its hard label until one of its
            samples has been classified correctly).
        empty_class: What a class without a correct sample gets: 'keep' (its last soft label; the
            paper leaves 0/0 open) or 'uniform' (as the authors' code). After a period without any
            sample, as between two roll-overs in a row, all rows are kept.
        freeze_confidence: A soft label whose largest entry has reached this value at a roll-over
            is never replaced again (0.88 in the authors' fine-grained code); None replaces always.
        divide_by: What turns a row of sums into a soft label: 'total' (the row's own sum, so that
            it sums to 1; paper, Eq. 6) or 'count' (the number of samples in it, which is the mean;
            the two differ for probabilities that do not sum to 1, such as sigmoid scores).

    Raises:
        ValueError: An argument is outside its range.
    """

    #: The matrix (C, C) in use: a buffer, or made from what there is.
    soft_labels: Tensor
    correct_count: Tensor
    sample_count: Tensor

    def __init__(
        self,
        num_classes: int,
        background: bool = False,
        start: str = 'uniform',
        empty_class: str = 'keep',
        freeze_confidence: float | None = None,
        divide_by: str = 'total',
    ) -> None:
        super().__init__()
        self.num_columns = count_columns(num_classes, background)
        check_choice('start', start, STARTS)
        check_choice('empty_class', empty_class, EMPTY_CLASS_RULES)
        check_number('freeze_confidence', freeze_confidence, 'in (0, 1]', optional=True)
        if freeze_confidence is not None and start == 'hard':
            raise ValueError(
                f"`freeze_confidence` would never let start='hard' be replaced, but got "
                f'{freeze_confidence!r}: leave it out, or start otherwise.'
            )
        check_choice('divide_by', divide_by, DIVISORS)
        self.num_classes = operator.index(num_classes)
        self.background = background
        self.start = start
        self.empty_class = empty_class
        self.freeze_confidence = freeze_confidence
        self.divide_by = divide_by

    def _register(self, name: str, *shape: int, dtype: torch.dtype = torch.float32) -> None:
        """Make a buffer of zeros."""
        self.register_buffer(name, torch.zeros(shape, dtype=dtype))

    @torch.no_grad()
    def accumulate(self, logits: Tensor, prob: Tensor, label: Tensor, teaches: Tensor) -> Tensor:
        """Add the correctly classified samples of a batch to the sums; nothing in eval mode.

        A sample is correct if the largest of its foreground scores is its class. Rows of logits
        that are not finite are left out, as if they had not been there. No host synchronisation.

        Args:
            logits: (N, C) scores before softmax or sigmoid.
            prob: (N, C) probabilities.
            label: (N,) int64 classes; only read where `teaches`.
            teaches: (N,) bool, False for background, ignored and weightless samples.

        Returns:
            (N,) bool: which samples were added.
        """
        if not self.learns or not len(label):
            return torch.zeros_like(teaches)
        sums = self.collecting()
        logits, prob = logits.detach(), prob.detach()
        # Any inf or NaN in a row ends up in its sum. Without the factor, masks of float32's lowest
        # number would add up to -inf; with a factor of 0, a compiler takes every sum for 0.
        # On a GPU, `isfinite` and `where` are several kernels.
        teaches = teaches & ((logits * 2.0**-64).sum(-1).abs() < torch.inf)
        label = label * teaches
        correct = teaches & (logits[:, : self.num_classes].argmax(-1) == label)
        self._add_rows(sums, prob, label, correct)
        _add(sums['correct_count'], label, correct.float())
        _add(sums['sample_count'], label, teaches.float())
        return correct

    def _add_rows(self, sums: Sums, prob: Tensor, label: Tensor, correct: Tensor) -> None:
        """Add the rows of `prob` that are `correct` (N,) to those of their `label` (N,)."""
        raise NotImplementedError

    def update_soft_labels(self, group: dist.ProcessGroup | None = None) -> RollOver:
        """Roll over: the sums of all ranks become the soft labels (paper, Eq. 6) and restart at 0.

        A collective call under `torch.distributed`: every rank of `group` must make it.
        """
        return self.roll_over(group)

    def _put_into_use(self) -> RollOver:
        self._replace_rows()
        correct = self.correct_count[: self.num_classes]
        confidence, entropy = self._describe_rows()
        return RollOver(
            correct_share=correct.sum() / self.sample_count[: self.num_classes].sum(),
            empty_classes=(correct == 0).sum().to(correct.dtype),
            confidence=confidence.mean(),
            entropy=entropy.mean(),
        )

    def _replace_rows(self) -> None:
        """Make the soft labels from the sums."""
        raise NotImplementedError

    def _describe_rows(self) -> tuple[Tensor, Tensor]:
        """The share of its own class, and the entropy, of each class's soft label (K,), (K,)."""
        raise NotImplementedError

    def has_sums(self) -> bool:
        counts = [self.sample_count, *([self._own['sample_count']] if self._own else [])]
        return any(not count.is_meta and bool(count.any()) for count in counts)

    def _is_possible(self) -> bool:
        correct, seen = self.correct_count, self.sample_count
        whole = (correct == correct.round()) & (seen == seen.round())
        counts = whole & (correct >= 0) & (correct <= seen) & seen.isfinite()
        totals = self._row_totals()[: self.num_classes]
        rows = totals.isfinite() & (totals > 0)
        if self.divide_by == 'total':
            rows = (totals - 1).abs() < 1e-3
        if self.start == 'zeros':
            rows = rows | (totals == 0)
        return bool(counts.all() & rows.all())

    def _row_totals(self) -> Tensor:
        """The sum of each soft label (C,)."""
        return self.soft_labels.sum(1)

    def extra_repr(self) -> str:
        frozen = f', freeze_confidence={self.freeze_confidence}' if self.freeze_confidence else ''
        return (
            f'num_classes={self.num_classes}, background={self.background}, start={self.start!r}, '
            f'empty_class={self.empty_class!r}{frozen}, divide_by={self.divide_by!r}'
        )


class SoftLabels(SoftLabelState):
    """The soft labels as a matrix. `SoftLabelState` lists the arguments.

    State:
        soft_labels (C, C): row y is the target of class y in use now. Rows sum to 1, unless they
            are divided by 'count'.
        prob_sum (C, C): sum of the probabilities of the correct samples since the last roll-over,
            row = true class.
        correct_count (C,): how many samples went into each row of `prob_sum`.
        sample_count (C,): how many samples could have, right or wrong.

        All float32 buffers, made once and changed in place.

    Example:
        >>> state = SoftLabels(num_classes=2)
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
        >>> teaches = torch.tensor([True, True])
        >>> state.accumulate(logits, logits.softmax(-1), torch.tensor([0, 1]), teaches)
        tensor([True, True])
        >>> report = state.update_soft_labels()
        >>> state.soft_labels
        tensor([[0.8808, 0.1192],
                [0.2689, 0.7311]])
    """

    in_use: tuple[str, ...] = ('soft_labels',)
    collected: tuple[str, ...] = SUMS
    added = SUMS

    prob_sum: Tensor

    def __init__(
        self,
        num_classes: int,
        background: bool = False,
        start: str = 'uniform',
        empty_class: str = 'keep',
        freeze_confidence: float | None = None,
        divide_by: str = 'total',
    ) -> None:
        super().__init__(num_classes, background, start, empty_class, freeze_confidence, divide_by)
        self._register('soft_labels', self.num_columns, self.num_columns)
        self._register('prob_sum', self.num_columns, self.num_columns)
        self._register('correct_count', self.num_columns)
        self._register('sample_count', self.num_columns)
        SoftLabels._start(self)  # a subclass has not made its own buffers yet

    @torch.no_grad()
    def _start(self) -> None:
        rows, size = self.soft_labels, self.num_columns
        if self.start == 'uniform':
            rows.fill_(1 / size)
        elif self.start == 'zeros':
            rows.zero_()
        elif self.start == 'hard':
            rows.zero_()
            rows.fill_diagonal_(1)
        else:
            rows.fill_(0.1 / max(size - 1, 1))
            rows.fill_diagonal_(0.9 if size > 1 else 1.0)
        if self.background:
            rows[-1] = 0
            rows[-1, -1] = 1

    def _add_rows(self, sums: Sums, prob: Tensor, label: Tensor, correct: Tensor) -> None:
        if may_select(prob):
            rows = correct.nonzero().squeeze(1)
            prob, label = prob.index_select(0, rows), label.index_select(0, rows)
        else:
            prob = torch.where(correct[:, None], prob, 0)
        _add(sums['prob_sum'], label, prob.float())

    def _replace_rows(self) -> None:
        seen = self.sample_count.any()
        for block in self._blocks():
            prob_sum, correct = self.prob_sum[block], self.correct_count[block]
            rows = self.soft_labels[block]  # a view: the background row stays as it is
            divisor = (prob_sum.sum(1) if self.divide_by == 'total' else correct)[:, None]
            fallback = rows
            if self.empty_class == 'uniform':
                fallback = torch.where(seen, 1 / self.num_columns, rows)
            # A total of 0 can occur with correct samples too: sigmoid scores underflow.
            new_rows = torch.where(divisor > 0, prob_sum / divisor, fallback)
            if self.freeze_confidence is not None:
                frozen = rows.amax(1, keepdim=True) >= self.freeze_confidence
                new_rows = torch.where(frozen, rows, new_rows)
            rows.copy_(new_rows)

    def _describe_rows(self) -> tuple[Tensor, Tensor]:
        entropies = []
        for block in self._blocks():
            rows = self.soft_labels[block]
            shares = rows / rows.sum(1, keepdim=True).clamp(min=1e-12)
            entropies.append(torch.special.entr(shares).sum(1))
        return self.soft_labels.diagonal()[: self.num_classes], torch.cat(entropies)

    def _blocks(self) -> list[slice]:
        """All foreground classes, few enough at a time that what is made of them stays small."""
        size = max(1, BLOCK_ENTRIES // self.num_columns)
        starts = range(0, self.num_classes, size)
        return [slice(start, min(start + size, self.num_classes)) for start in starts]


def may_select(tensor: Tensor) -> bool:
    """Whether rows may be selected by their values: no GPU waits for them, and values there are."""
    plain = type(tensor) is Tensor and tensor.device.type == 'cpu'
    return plain and not hides_values()


def _add(total: Tensor, label: Tensor, rows: Tensor) -> None:
    """Add each row to that of its label, rounding once a batch where classes meet many times.

    A dense head sees some ten million samples of a frequent class in an epoch. Added one by one,
    ones would not count any more from 2^24 on, and probabilities would be rounded long before.
    """
    if len(label) >= len(total):
        total += torch.zeros_like(total).index_add_(0, label, rows)
    else:  # a sum of its own would take longer than the batch itself
        total.index_add_(0, label, rows)
