"""The soft labels of Online Label Smoothing: what is kept, and the only code that changes it."""

from __future__ import annotations

import warnings
from typing import Any, Callable, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from mmdet_ols.core.score_columns import ScoreColumns

STARTS = ('uniform', 'zeros', 'label_smoothing')
EMPTY_CLASS_RULES = ('keep', 'uniform')
DIVISORS = ('total', 'count')
#: A roll-over makes new rows of some 16 MB at a time; all of 21,841 classes are 1.9 GB.
BLOCK_ENTRIES = 2**22
#: The tensors that count since the last roll-over. They differ from rank to rank until then.
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


class SoftLabelState(ScoreColumns):
    """One soft label for each class: the mean prediction of its correct samples last period.

    Losses derive from it, call `accumulate` in every training step and read `soft_labels`;
    whoever drives the training calls `update_soft_labels` once an epoch.

    C, the number of score columns, is `num_classes`, plus one (the last) with `background`.

    Args:
        num_classes: Number of foreground classes.
        background: Whether the scores have a last column for the background, as MMDetection's
            softmax heads do. That class keeps its plain hard label.
        start: The soft labels of the first period. 'uniform' (1/C, the paper's text), 'zeros' (as
            the authors' CIFAR code: the soft loss is absent at first), or 'label_smoothing'
            (0.9 for the class itself, 0.1 / (C - 1) for the others, as ankandrew's port).
        empty_class: What a class without a correct sample gets: 'keep' (its last soft label; the
            paper leaves 0/0 open) or 'uniform' (as the authors' code).
        freeze_confidence: A soft label whose largest entry has reached this value at a roll-over
            is never replaced again (0.88 in the authors' fine-grained code); None replaces always.
        divide_by: What turns a row of sums into a soft label: 'total' (the row's own sum, so that
            it sums to 1; paper, Eq. 6) or 'count' (the number of samples in it, which is the mean;
            the two differ for probabilities that do not sum to 1, such as sigmoid scores).

    State:
        soft_labels (C, C): buffer; row y is the target of class y in use now. Rows sum to 1,
            unless they are divided by 'count'.
        prob_sum (C, C): sum of the probabilities of the correct samples since the last roll-over,
            row = true class.
        correct_count (C,): how many samples went into each row of `prob_sum`.
        sample_count (C,): how many samples could have, right or wrong.

        All float32, in the state dict, made here and changed in place. The last three are plain
        tensors, not buffers: DDP's `broadcast_buffers` and averaging hooks must not touch them.
    """

    #: What is in use now: buffers, which change at a roll-over alone.
    in_use: tuple[str, ...] = ('soft_labels',)
    #: What was collected since the last roll-over: plain tensors, empty where they are 0.
    collected: tuple[str, ...] = SUMS

    soft_labels: Tensor
    prob_sum: Tensor
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
        **others: Any,
    ) -> None:
        super().__init__(num_classes, background, **others)
        if start not in STARTS:
            raise ValueError(f'`start` must be one of {STARTS}, but got {start!r}.')
        if empty_class not in EMPTY_CLASS_RULES:
            raise ValueError(
                f'`empty_class` must be one of {EMPTY_CLASS_RULES}, but got {empty_class!r}.'
            )
        if freeze_confidence is not None and not 0 < freeze_confidence <= 1:
            raise ValueError(
                f'`freeze_confidence` must be None or in (0, 1], but got {freeze_confidence!r}.'
            )
        if divide_by not in DIVISORS:
            raise ValueError(f'`divide_by` must be one of {DIVISORS}, but got {divide_by!r}.')
        self.start = start
        self.empty_class = empty_class
        self.freeze_confidence = freeze_confidence
        self.divide_by = divide_by
        #: Whether somebody cares for the roll-over; a hook that will call it sets this early.
        self.roll_over_scheduled = False

        self.correct_count = torch.zeros(self.num_columns)
        self.sample_count = torch.zeros(self.num_columns)
        self._make_rows()

    def _make_rows(self) -> None:
        """Make the tensors that hold a row for each class."""
        self.register_buffer('soft_labels', self._initial_soft_labels())
        self.prob_sum = torch.zeros(self.num_columns, self.num_columns)

    def _initial_soft_labels(self) -> Tensor:
        size = self.num_columns
        if self.start == 'uniform':
            rows = torch.full((size, size), 1 / size)
        elif self.start == 'zeros':
            rows = torch.zeros(size, size)
        else:
            rows = torch.full((size, size), 0.1 / max(size - 1, 1))
            rows.fill_diagonal_(0.9 if size > 1 else 1.0)
        if self.background:
            rows[-1] = 0
            rows[-1, -1] = 1
        return rows

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
        if not self.training or not len(label):
            return torch.zeros_like(teaches)
        self._follow_buffer()
        logits, prob = logits.detach(), prob.detach()
        # Any inf or NaN in a row ends up in its sum. Without the factor, masks of float32's lowest
        # number would add up to -inf; with a factor of 0, a compiler takes every sum for 0.
        teaches = teaches & (logits * 2.0**-64).sum(-1).isfinite()
        label = torch.where(teaches, label, 0)
        correct = teaches & (logits[:, : self.num_classes].argmax(-1) == label)
        self._add_rows(prob, label, correct)
        _add(self.correct_count, label, correct.float())
        _add(self.sample_count, label, teaches.float())
        return correct

    def _add_rows(self, prob: Tensor, label: Tensor, correct: Tensor) -> None:
        """Add the rows of `prob` that are `correct` (N,) to those of their `label` (N,)."""
        if may_select(prob):
            rows = correct.nonzero().squeeze(1)
            prob, label = prob.index_select(0, rows), label.index_select(0, rows)
        else:
            prob = torch.where(correct[:, None], prob, 0)
        _add(self.prob_sum, label, prob.float())

    @torch.no_grad()
    def update_soft_labels(self, group: dist.ProcessGroup | None = None) -> RollOver:
        """Roll over: the sums of all ranks become the soft labels (paper, Eq. 6) and restart at 0.

        A collective call under `torch.distributed`: every rank of `group` must make it.
        """
        self._merge_ranks(group)
        self._put_into_use()
        correct = self.correct_count[: self.num_classes]
        confidence, entropy = self._describe_rows()
        report = RollOver(
            correct_share=correct.sum() / self.sample_count[: self.num_classes].sum(),
            empty_classes=(correct == 0).sum().to(correct.dtype),
            confidence=confidence.mean(),
            entropy=entropy.mean(),
        )
        self.reset_sums()
        self.roll_over_scheduled = True
        return report

    def _put_into_use(self) -> None:
        """Make from what all ranks collected what is in use from now on."""
        for block in self._blocks():
            prob_sum, correct = self.prob_sum[block], self.correct_count[block]
            rows = self.soft_labels[block]  # a view: the background row stays as it is
            divisor = (prob_sum.sum(1) if self.divide_by == 'total' else correct)[:, None]
            if self.empty_class == 'keep':
                fallback = rows
            else:
                fallback = torch.full_like(rows, 1 / self.num_columns)
            # A total of 0 can occur with correct samples too: sigmoid scores underflow.
            new_rows = torch.where(divisor > 0, prob_sum / divisor, fallback)
            if self.freeze_confidence is not None:
                frozen = rows.amax(1, keepdim=True) >= self.freeze_confidence
                new_rows = torch.where(frozen, rows, new_rows)
            rows.copy_(new_rows)

    def _describe_rows(self) -> tuple[Tensor, Tensor]:
        """The share of its own class, and the entropy, of each class's soft label (K,), (K,)."""
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

    @torch.no_grad()
    def reduce_sums(self, group: dist.ProcessGroup | None = None) -> None:
        """Bring the sums of all ranks to rank 0 and clear the others, so that rank 0 can save them.

        Collective, and harmless to the next roll-over. Call it on every rank before a checkpoint
        that is written between two roll-overs; without `torch.distributed` it does nothing.
        """
        self._merge_ranks(group)
        if _world_size(group) > 1 and dist.get_rank(group) != 0:
            self.reset_sums()

    def reset_sums(self) -> None:
        """Forget what was collected since the last roll-over."""
        for name in self.collected:
            getattr(self, name).zero_()

    def _merge_ranks(self, group: dist.ProcessGroup | None) -> None:
        """Give every rank what all ranks have collected."""
        self._follow_buffer()
        if _world_size(group) < 2:
            return
        sums = [getattr(self, name) for name in SUMS]
        flat = torch.cat([tensor.flatten() for tensor in sums])  # one message instead of three
        dist.all_reduce(flat, group=group)
        for tensor, total in zip(sums, flat.split([tensor.numel() for tensor in sums])):
            tensor.copy_(total.view_as(tensor))

    def _follow_buffer(self) -> None:
        """Bring the sums to the buffer's device: FSDP moves buffers singly, not through `.to()`."""
        device = getattr(self, self.in_use[0]).device
        if self.sample_count.device != device:
            for name in self.collected:
                setattr(self, name, getattr(self, name).to(device))

    def train(self, mode: bool = True) -> SoftLabelState:
        """As `nn.Module.train`; warns when a training pass went by and nobody rolled over."""
        # Loops call this between two passes, so the look at the sums costs no step anything.
        if mode and not self.roll_over_scheduled and self._has_sums():
            self.roll_over_scheduled = True  # say it once
            warnings.warn(
                f'{type(self).__name__} has been trained on, and its soft labels were not updated '
                "yet. If nothing will: add default_hooks=dict(ols=dict(type='OLSHook')) to the "
                'config, or call update_soft_labels() after every epoch of your own loop.',
                stacklevel=2,
            )
        super().train(mode)
        return self

    def _has_sums(self) -> bool:
        return not self.sample_count.is_meta and bool(self.sample_count.any())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> SoftLabelState:
        # `.to()` and its kin move the plain tensors too, and leave all of them in float32: a soft
        # label in half precision loses the small entries that it is made of.
        before = {name: getattr(self, name) for name in (*self.in_use, *self.collected)}
        super()._apply(fn)
        for name, old in before.items():
            new = fn(old) if name in self.collected else getattr(self, name)
            setattr(self, name, new if new.dtype == old.dtype else old.to(new.device))
        return self

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name in self.collected:
            destination[prefix + name] = getattr(self, name)

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Load the state; the sums of a checkpoint are those of all ranks, so rank 0 takes them."""
        own_keys = {prefix + name for name in self.collected}
        others = {key: value for key, value in state_dict.items() if key not in own_keys}
        super()._load_from_state_dict(
            others, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
        for name in self.collected:
            key, tensor = prefix + name, getattr(self, name)
            if key not in state_dict:
                if strict:
                    missing_keys.append(key)
            elif state_dict[key].shape != tensor.shape:
                error_msgs.append(
                    f'size mismatch for {key}: the checkpoint has {tuple(state_dict[key].shape)}, '
                    f'the model {tuple(tensor.shape)}.'
                )
            else:
                if tensor.is_meta:  # as load_state_dict(assign=True) expects, copying would be lost
                    tensor = torch.empty_like(state_dict[key], dtype=tensor.dtype)
                    setattr(self, name, tensor)
                with torch.no_grad():
                    tensor.copy_(state_dict[key])
                if _world_size(None) > 1 and dist.get_rank() != 0:
                    tensor.zero_()
        if self._has_sums():  # resumed in the middle of a period: whoever saved them rolls over
            self.roll_over_scheduled = True


def may_select(tensor: Tensor) -> bool:
    """Whether rows may be selected by their values: no GPU waits for them, and nobody traces."""
    plain = type(tensor) is Tensor and tensor.device.type == 'cpu'
    return plain and not torch.compiler.is_compiling()


def _add(total: Tensor, label: Tensor, rows: Tensor) -> None:
    """Add each row to that of its label, rounding once a batch where classes meet many times.

    A dense head sees some ten million samples of a frequent class in an epoch. Added one by one,
    ones would not count any more from 2^24 on, and probabilities would be rounded long before.
    """
    if len(label) >= len(total):
        total += torch.zeros_like(total).index_add_(0, label, rows)
    else:  # a sum of its own would take longer than the batch itself
        total.index_add_(0, label, rows)


def _world_size(group: dist.ProcessGroup | None) -> int:
    if dist.is_available() and dist.is_initialized():
        return dist.get_world_size(group)
    return 1
