"""Soft labels of very many classes: of each row the largest entries, and one value for the rest.

At 21,841 classes the two matrices of `SoftLabels` take 3.8 GB. Almost all of it is the long
tail of thousands of classes that a class is hardly ever taken for. Here a class keeps the m columns
that its samples are taken for most, and all other columns share what remains evenly. Nothing makes
a (C, C) matrix: neither the start, nor a batch, nor a roll-over over several ranks.

**In use** are m columns of a class with their values, and the value of every other column. With
m = C that is the dense row.

**Collecting** is the harder half, because the columns that a class will need are known only at the
end of a period. So each class has 2m *slots*. A slot tracks a column: it sums what comes for it
from then on. The rows of a class in a batch are added up first; the tracked columns take what is
theirs, and the largest m of the others apply for a slot. The columns that may have had the most
altogether,

    bound = sum + missed,

have a slot from then on, and those with the least bounds lose theirs. `missed` is what may have
come for a column before it was tracked. No column without a slot had more than `untracked`: the
largest bound that ever went, or did not apply. This is the Space-Saving sketch (Metwally, Agrawal
and El Abbadi 2005, "Efficient computation of frequent and top-k elements in data streams"), here
with weights instead of single items and a batch at a time. At any moment, up to rounding,

    sum <= what has come for a tracked column <= sum + missed,
           what has come for any other column <= untracked.

So a column that grows in small steps is not kept out by those that came first: `untracked` grows
with it until it has a slot. What it had before is not in its sum then; it is part of the rest.

Two things differ from the usual sketch. The value of a column is its sum and not its bound: the
bound decides the order, but as a value it would credit a latecomer with the probability of others.
And there are twice as many slots as entries that will be kept, since columns come and go in the
last slots. On simulated rows with m = 50 of 1,000 classes this took the distance to the dense rows
from 50 to 4 % above the least that is possible with m entries (three times as many: 1 %). Starting
with the columns of the last period helped on some streams and harmed others, so it is left out.

**Ranks** merge as batches do: one after the other sends its slots to all, and all merge them into
the same result. Sums of the same column add up; for a column that only one of the two tracks, the
other's `untracked` is what may have been missed.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from mmdet_ols.core.arguments import check_integer
from mmdet_ols.core.rolling_state import Sums, world_size
from mmdet_ols.core.soft_labels import SoftLabelState, may_select

#: How many times as many columns are tracked in a period as are kept at its end.
SLOTS_PER_ENTRY = 2
#: How many classes of two ranks are merged at a time: sorting takes more memory than the state.
CLASSES_AT_A_TIME = 2048


class SparseSoftLabels(SoftLabelState):
    """Soft labels of which each row keeps its top entries and spreads the rest evenly.

    The module's docstring explains how. If `top_m` is C, it is `SoftLabels` up to rounding.

    Args:
        num_classes: See `SoftLabelState`, as for all that are not named here.
        top_m: m, how many entries of each soft label are kept, at least 1; C at most, whatever is
            asked for. The state takes 32 m C bytes.
        background: See `SoftLabelState`.
        start: See `SoftLabelState`.
        empty_class: See `SoftLabelState`.
        freeze_confidence: See `SoftLabelState`.
        divide_by: See `SoftLabelState`.

    State:
        soft_columns (C, m): int32; the columns of the entries in use, largest entry first.
        soft_values (C, m): these entries.
        soft_rest (C,): the entry of each other column.
        slot_column (C, S): int32, with S = 2m slots (C at most); the columns that are tracked since
            the last roll-over. Has no meaning where `prob_total` is 0.
        slot_sum (C, S): what has come for them: sums of probabilities of correct samples.
        slot_missed (C, S): at most so much came for them before they were tracked.
        untracked (C,): at most so much has come for a column that is not tracked.
        prob_total (C,): what has come for all columns together.
        correct_count (C,), sample_count (C,): as in `SoftLabels`.

        All buffers, float32 but for the columns, made once and changed in place.
    """

    in_use = ('soft_columns', 'soft_values', 'soft_rest')
    collected = (  # begins as `Slots` does
        'slot_column',
        'slot_sum',
        'slot_missed',
        'untracked',
        'prob_total',
        'correct_count',
        'sample_count',
    )
    added = ('prob_total', 'correct_count', 'sample_count')

    soft_columns: Tensor
    soft_values: Tensor
    soft_rest: Tensor
    slot_column: Tensor
    slot_sum: Tensor
    slot_missed: Tensor
    untracked: Tensor
    prob_total: Tensor

    def __init__(
        self,
        num_classes: int,
        top_m: int = 100,
        background: bool = False,
        start: str = 'uniform',
        empty_class: str = 'keep',
        freeze_confidence: float | None = None,
        divide_by: str = 'total',
    ) -> None:
        super().__init__(num_classes, background, start, empty_class, freeze_confidence, divide_by)
        check_integer('top_m', top_m)
        size = self.num_columns
        self.top_m = min(top_m, size)
        self.num_slots = min(SLOTS_PER_ENTRY * self.top_m, size)
        self._register('soft_columns', size, self.top_m, dtype=torch.int32)
        self._register('soft_values', size, self.top_m)
        self._register('soft_rest', size)
        self._register('slot_column', size, self.num_slots, dtype=torch.int32)
        self._register('slot_sum', size, self.num_slots)
        self._register('slot_missed', size, self.num_slots)
        for name in ('untracked', 'prob_total', 'correct_count', 'sample_count'):
            self._register(name, size)
        self._start()

    @torch.no_grad()
    def _start(self) -> None:
        size = self.num_columns
        if self.start == 'label_smoothing':
            own, other = 0.9 if size > 1 else 1.0, 0.1 / max(size - 1, 1)
        elif self.start == 'hard':
            own, other = 1.0, 0.0
        else:
            own = other = 1 / size if self.start == 'uniform' else 0.0
        row = torch.arange(size, device=self.soft_columns.device)
        self.soft_columns.copy_((row[:, None] + row[: self.top_m]) % size)
        self.soft_values.fill_(other)
        self.soft_values[:, 0] = own  # the columns begin with the class itself
        self.soft_rest.fill_(other if self.top_m < size else 0.0)
        if self.background:
            self.soft_values[-1] = 0
            self.soft_values[-1, 0] = 1
            self.soft_rest[-1] = 0

    def extra_repr(self) -> str:
        return f'top_m={self.top_m}, {super().extra_repr()}'

    # --- in use -----------------------------------------------------------------------------------

    @property
    def soft_labels(self) -> Tensor:  # type: ignore[override]
        """The dense matrix (C, C), made by each call: 1.9 GB for 21,841 classes."""
        return dense_soft_labels(self.soft_columns, self.soft_values, self.soft_rest)

    def mixed_targets(
        self, label: Tensor, alpha: float, valid: Tensor, dtype: torch.dtype
    ) -> Tensor:
        """`mix_targets` without a matrix; (N, C) in `dtype`.

        Rows as labels cost m additions for each entry that is not 0, of which mixup makes two a
        sample. On a GPU every entry costs that, since finding the others would mean to wait for it.
        """
        if label.dim() == 2:
            rows = torch.where(valid, label, 0).to(dtype)
            return alpha * rows + (1 - alpha) * self._times_soft_labels(rows)
        index, there = torch.where(valid, label, 0), valid.to(dtype)[:, None]
        soft = (1 - alpha) * there
        target = (soft * self.soft_rest[index, None]).repeat(1, self.num_columns)
        target.scatter_(1, self.soft_columns[index].long(), soft * self.soft_values[index])
        return target.scatter_add_(1, index[:, None], alpha * there)

    def _times_soft_labels(self, rows: Tensor) -> Tensor:
        """rows @ S, (N, C): the rest everywhere, then the entries one after the other."""
        product = (rows * self.soft_rest).sum(1, keepdim=True).repeat(1, self.num_columns)
        if may_select(rows):
            sample, label = rows.nonzero(as_tuple=True)
        else:
            place = torch.arange(rows.numel(), device=rows.device)
            sample, label = place // self.num_columns, place % self.num_columns
        share, start = rows[sample, label], sample * self.num_columns
        above_rest = (self.soft_values - self.soft_rest[:, None]).to(rows.dtype)
        for entry in range(self.top_m):
            place = start + self.soft_columns[label, entry]
            product.view(-1).index_add_(0, place, share * above_rest[label, entry])
        return product

    def _row_totals(self) -> Tensor:
        return self.soft_values.sum(1) + (self.num_columns - self.top_m) * self.soft_rest

    def _replace_rows(self) -> None:
        classes = slice(self.num_classes)  # the background row stays as it is
        prob_total, correct = self.prob_total[classes], self.correct_count[classes]
        slots = self._slots(classes)
        # Stable, so that all ranks find the same order.
        values, order = slots.total.sort(dim=1, descending=True, stable=True)
        values, order = values[:, : self.top_m], order[:, : self.top_m]
        columns = slots.column.gather(1, order)
        others = self.num_columns - self.top_m
        rest = (prob_total - values.sum(1)).clamp(min=0) / others if others else 0 * prob_total
        divisor = prob_total if self.divide_by == 'total' else correct
        new = (columns, values / divisor[:, None], rest / divisor)

        used = [getattr(self, name)[classes] for name in self.in_use]  # views
        taught = divisor > 0  # a total of 0 can occur with correct samples: sigmoid underflows
        largest = torch.maximum(used[1].amax(1), used[2])
        frozen = largest >= (self.freeze_confidence or torch.inf)
        if self.empty_class == 'uniform':
            empty = ~taught & ~frozen & self.sample_count.any()
            used[1].masked_fill_(empty[:, None], 1 / self.num_columns)
            used[2].masked_fill_(empty, 1 / self.num_columns if others else 0)
        for old, rows in zip(used, new):
            old.copy_(_where(taught & ~frozen, rows, old))

    def _describe_rows(self) -> tuple[Tensor, Tensor]:
        columns, values, rest = (getattr(self, name)[: self.num_classes] for name in self.in_use)
        others = self.num_columns - self.top_m
        own = columns == torch.arange(self.num_classes, device=columns.device)[:, None]
        confidence = torch.where(own.any(1), (values * own).sum(1), rest)
        total = (values.sum(1) + others * rest).clamp(min=1e-12)
        entropy = torch.special.entr(values / total[:, None]).sum(1)
        return confidence, entropy + others * torch.special.entr(rest / total)

    # --- collecting -------------------------------------------------------------------------------

    def _add_rows(self, sums: Sums, prob: Tensor, label: Tensor, correct: Tensor) -> None:
        if may_select(prob):
            samples = correct.nonzero().squeeze(1)
            prob, label = prob.index_select(0, samples), label[samples]
            correct = correct[samples]
        if not len(label):
            return
        self._track(sums, *_add_up_by_class(prob.float(), label, correct))

    def _track(self, sums: Sums, rows: Tensor, label: Tensor) -> None:
        """Add the sums (n, C) of a batch's classes (n,), each there once; changes `rows`.

        Rows of no class, C, come last, and count as if they were not there.
        """
        index = label.clamp(max=self.num_columns - 1)  # those of no class read any, and write none
        prob_total = sums['prob_total'][index] + rows.sum(1)
        slots = self._slots(index, sums)
        total = slots.total + rows.gather(1, slots.column)
        # Not by `_replace`, which torch 2.5 cannot compile.
        slots = Slots(slots.column, total, slots.missed, slots.untracked)
        applicants = min(self.top_m, self.num_columns - self.num_slots)
        if applicants:
            share, column = rows.scatter_(1, slots.column, -1).topk(applicants, 1)
            missed = slots.untracked[:, None]
            untracked = slots.untracked + share[:, -1]  # no other column has more
            slots = slots.joined(column, share, missed.expand_as(share), untracked)
            slots = slots.best(self.num_slots)
        self._write(sums, label, slots, prob_total)

    def _slots(self, classes: Tensor | slice = slice(None), sums: Sums | None = None) -> Slots:
        """The slots of some classes, in the buffers or in `sums`."""
        sums = self._collected_buffers() if sums is None else sums
        started = sums['prob_total'][classes, None] > 0  # before that, any columns will do
        any_column = torch.arange(self.num_slots, device=started.device)
        column, *others = (sums[name][classes] for name in self.collected[:4])
        return Slots(torch.where(started, column, any_column), *others)

    def _write(self, sums: Sums, label: Tensor, slots: Slots, prob_total: Tensor) -> None:
        # Rows of no class write what the first does, once more: no GPU has to count the others.
        real = label < self.num_columns
        source = torch.where(real, torch.arange(len(label), device=label.device), 0)
        label, real = torch.where(real, label, 0)[source], real[source]
        for name, new in zip(self.collected, (*slots, prob_total)):
            state = sums[name]
            state[label] = _where(real, new[source].to(state.dtype), state[label])

    # --- ranks ------------------------------------------------------------------------------------

    def _merge(self, own: Sums, group: dist.ProcessGroup | None) -> None:
        own_slots = self._slots(sums=own)

        def slots_of(rank: int) -> Slots:
            slots = Slots(*(tensor.clone() for tensor in own_slots))
            for tensor in slots:
                source = rank if group is None else dist.get_global_rank(group, rank)
                dist.broadcast(tensor, source, group=group)
            return slots

        merged = functools.reduce(Slots.merged, map(slots_of, range(world_size(group))))
        for name, tensor in zip(self.collected, merged):
            own[name].copy_(tensor)
        super()._merge(own, group)

    def _combine(self, total: Sums, own: Sums) -> None:
        more = self._slots(sums=own)
        merged = self._slots(sums=total).merged(more)
        # A row that only one of the two has stays as it is, without columns of the other.
        started, adds = (sums['prob_total'] > 0 for sums in (total, own))
        for name, both, new in zip(self.collected, merged, more):
            rows = _where(started & adds, both, _where(adds, new, total[name]))
            total[name].copy_(rows)
        super()._combine(total, own)


class Slots(NamedTuple):
    """What is tracked of some classes, and the operations of the sketch on it."""

    #: (n, S), no two alike in a row.
    column: Tensor
    #: (n, S) what has come for them since they are tracked.
    total: Tensor
    #: (n, S) at most so much had come for them before.
    missed: Tensor
    #: (n,) at most so much has come for each other column.
    untracked: Tensor

    def joined(self, column: Tensor, total: Tensor, missed: Tensor, untracked: Tensor) -> Slots:
        """With more slots, of other columns."""
        return Slots(
            torch.cat([self.column, column], 1),
            torch.cat([self.total, total], 1),
            torch.cat([self.missed, missed], 1),
            untracked,
        )

    def best(self, number: int) -> Slots:
        """With `number` slots: those with the least bounds go."""
        bound, order = (self.total + self.missed).sort(dim=1, descending=True, stable=True)
        keep, went = order[:, :number], bound[:, number]
        return Slots(
            self.column.gather(1, keep),
            self.total.gather(1, keep),
            self.missed.gather(1, keep),
            torch.maximum(self.untracked, went),
        )

    def merged(self, other: Slots) -> Slots:
        """The two of the same classes as one, with as many slots."""
        parts = zip(*(tensor.split(CLASSES_AT_A_TIME) for tensor in (*self, *other)))
        merged = [Slots(*part[:4])._merged(Slots(*part[4:])) for part in parts]
        return Slots(*map(torch.cat, zip(*merged)))

    def _merged(self, other: Slots) -> Slots:
        # What only one of the two tracks, the other may have missed.
        untracked = self.untracked + other.untracked
        missed = self.missed + other.untracked[:, None]
        slots = self._replace(missed=missed).joined(
            other.column, other.total, other.missed + self.untracked[:, None], untracked
        )
        # What both track lies side by side now: the second gives all to the first, and drops out.
        column, order = slots.column.sort(dim=1, stable=True)
        total, missed = slots.total.gather(1, order), slots.missed.gather(1, order)
        both = column[:, 1:] == column[:, :-1]
        total[:, :-1] += torch.where(both, total[:, 1:], 0)
        missed[:, :-1] += torch.where(both, missed[:, 1:] - untracked[:, None], 0)
        total[:, 1:].masked_fill_(both, -1)
        missed[:, 1:].masked_fill_(both, 0)
        slots = Slots(column, total, missed.clamp(min=0), untracked)
        return slots.best(self.column.shape[1])


def dense_soft_labels(columns: Tensor, values: Tensor, rest: Tensor) -> Tensor:
    """The matrix (C, C) of what `SparseSoftLabels` has in use (see there)."""
    rows = rest[:, None].repeat(1, len(rest))
    return rows.scatter_(1, columns.long(), values)


def _add_up_by_class(rows: Tensor, label: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """One row for each class in a batch, without waiting for how many there are.

    Args:
        rows: (N, C).
        label: (N,) in [0, C).
        counts: (N,) bool; the other rows may hold anything.

    Returns:
        The sums (n, C), n = min(N, C + 1), and the classes (n,) that they are of. Rows that are
        of no class come last, and have the class C.
    """
    size = rows.shape[1]
    label, order = torch.where(counts, label, size).sort()
    first = torch.cat([label.new_zeros(1), (label[1:] != label[:-1]).long()])
    group = first.cumsum(0)
    number = min(len(rows), size + 1)
    classes = torch.full((number,), size, device=rows.device).scatter_(0, group, label)
    group = torch.empty_like(group).scatter_(0, order, group)
    return rows.new_zeros(number, size).index_add_(0, group, rows), classes


def _where(chosen: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """Rows of `new` where `chosen` (n,), else of `old`."""
    return torch.where(chosen.view(-1, *[1] * (new.dim() - 1)), new, old)
