"""Single predictions in addition to the soft labels: a bank for each class to draw from."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from mmdet_ols.core.arguments import check_integer
from mmdet_ols.core.rolling_state import Sums, world_size
from mmdet_ols.core.soft_labels import SUMS, SoftLabels

#: Keys are drawn below this number ...
LARGEST_KEY = 2**63 - 1
#: ... and kept without this many of their lowest bits: hooks that average the buffers of all ranks
#: add them up first.
DROPPED_BITS = 15


class PredictionBank(SoftLabels):
    """Keeps a random sample of each class's correct predictions, for the next period to draw from.

    The sample is uniform over all correctly classified samples of the period, those of all ranks
    together: each prediction gets a random key when it comes in, and each class keeps the
    `bank_size` predictions with the largest keys. So the samples of the ranks merge into one of
    all.

    Args:
        num_classes: See `SoftLabelState`, as for all that are not named here.
        bank_size: M, how many predictions of a class are kept, at least 1. A bank and the reservoir
            of the running period take 4 M C^2 bytes each.
        background: See `SoftLabelState`.
        start: See `SoftLabelState`.
        empty_class: See `SoftLabelState`.
        freeze_confidence: Must be None: it is a rule for the mean of a class.
        divide_by: See `SoftLabelState`.

    State, in addition to that of `SoftLabels`:
        bank (C, M, C): the predictions in use now, from the first place on. Each sums to 1, unless
            rows are divided by 'count'.
        bank_count (C,): how many places of the bank are taken.
        reservoir (C, M, C): as the bank, collected since the last roll-over.
        reservoir_key (C, M): int64 keys of the predictions in the reservoir; 0 is an empty place.
    """

    in_use = ('soft_labels', 'bank', 'bank_count')
    collected = (*SUMS, 'reservoir', 'reservoir_key')

    added = SUMS

    bank: Tensor
    bank_count: Tensor
    reservoir: Tensor
    reservoir_key: Tensor

    def __init__(
        self,
        num_classes: int,
        bank_size: int = 50,
        background: bool = False,
        start: str = 'uniform',
        empty_class: str = 'keep',
        freeze_confidence: None = None,
        divide_by: str = 'total',
    ) -> None:
        super().__init__(num_classes, background, start, empty_class, None, divide_by)
        check_integer('bank_size', bank_size)
        if freeze_confidence is not None:
            raise ValueError(
                '`freeze_confidence` is a rule for the mean of a class, and has no meaning for '
                f'single predictions, but got {freeze_confidence!r}: leave it out.'
            )
        self.bank_size = bank_size
        self._register('bank', self.num_columns, bank_size, self.num_columns)
        self._register('bank_count', self.num_columns)
        self._register('reservoir', self.num_columns, bank_size, self.num_columns)
        self._register('reservoir_key', self.num_columns, bank_size, dtype=torch.int64)

    def _start(self) -> None:
        super()._start()
        self.bank.zero_()
        self.bank_count.zero_()

    def draw(self, label: Tensor) -> Tensor:
        """Predictions of random partners (N, C), each from the bank of a class in `label` (N,).

        Where the bank is empty it is the class's soft label. No host synchronisation.
        """
        count = self.bank_count[label]
        # Below the count: the largest of `torch.rand` times a count is never rounded up to it.
        place = (torch.rand_like(count) * count).long()
        return torch.where((count > 0)[:, None], self.bank[label, place], self.soft_labels[label])

    @torch.no_grad()
    def accumulate(self, logits: Tensor, prob: Tensor, label: Tensor, teaches: Tensor) -> Tensor:
        correct = super().accumulate(logits, prob, label, teaches)
        if not self.learns or not len(label):
            return correct
        rows = prob.detach().float()
        if self.divide_by == 'total':
            total = rows.sum(1, keepdim=True)
            rows = rows / total
            correct = correct & (total[:, 0] > 0)  # sigmoid scores underflow
        self._sample(self.collecting(), rows, label, correct)
        return correct

    def _sample(self, sums: Sums, rows: Tensor, label: Tensor, correct: Tensor) -> None:
        """Offer the correct samples to the reservoir: it keeps those of the largest keys."""
        key = _kept(torch.randint(1, LARGEST_KEY, label.shape, device=label.device))
        # By class, within a class by falling key, and those that are not offered last.
        column = torch.where(correct, label, self.num_columns)
        order = key.argsort(descending=True)
        order = order[column[order].argsort(stable=True)]
        column, key, rows = column[order], key[order], rows[order]
        rank = torch.arange(len(column), device=column.device)
        rank = rank - torch.searchsorted(column, column)

        # The class's largest new key meets its smallest kept one, the next the next smallest, and
        # so on: wherever the new one is larger, it takes the place.
        offered = (column < self.num_columns) & (rank < self.bank_size)
        column, rank = torch.where(offered, column, 0), torch.where(offered, rank, 0)
        place = column * self.bank_size + sums['reservoir_key'].argsort(1)[column, rank]
        flat_key = sums['reservoir_key'].view(-1)
        taken = offered & (key > flat_key[place])
        flat_key.index_add_(0, place, torch.where(taken, key - flat_key[place], 0))
        # Added rather than written, so that a sample that takes no place does not need one. The
        # old row first: row - row is 0, which leaves exactly the new one.
        flat = sums['reservoir'].view(-1, self.num_columns)
        flat.index_add_(0, place, torch.where(taken[:, None], -flat[place], 0))
        flat.index_add_(0, place, torch.where(taken[:, None], rows, 0))

    def _replace_rows(self) -> None:
        super()._replace_rows()
        key, place = self.reservoir_key.sort(1, descending=True)
        self.bank.copy_(self.reservoir.take_along_dim(place[..., None], 1))
        self.bank_count.copy_((key > 0).sum(1))

    def _merge(self, own: Sums, group: dist.ProcessGroup | None) -> None:
        super()._merge(own, group)
        keys = [torch.empty_like(own['reservoir_key']) for _ in range(world_size(group))]
        dist.all_gather(keys, own['reservoir_key'], group=group)
        # All ranks find the same places; each hands in its own rows, and the others zeros.
        key, place = torch.cat(keys, 1).topk(self.bank_size, dim=1)
        own_place = (place // self.bank_size == dist.get_rank(group))[..., None]
        rows = own['reservoir'].take_along_dim((place % self.bank_size)[..., None], 1)
        rows = torch.where(own_place, rows, 0)
        dist.all_reduce(rows, group=group)
        own['reservoir'].copy_(rows)
        own['reservoir_key'].copy_(key)

    def _combine(self, total: Sums, own: Sums) -> None:
        super()._combine(total, own)
        keys = torch.cat([total['reservoir_key'], own['reservoir_key']], 1)
        key, place = keys.topk(self.bank_size, dim=1)
        rows = torch.cat([total['reservoir'], own['reservoir']], 1)
        total['reservoir'].copy_(rows.take_along_dim(place[..., None], 1))
        total['reservoir_key'].copy_(key)

    def from_old(self, name: str, tensor: Tensor) -> Tensor:
        if name == 'reservoir_key':  # with all of their bits
            return torch.where(tensor > 0, _kept(tensor), 0)
        return tensor

    def extra_repr(self) -> str:
        return f'bank_size={self.bank_size}, {super().extra_repr()}'


def _kept(key: Tensor) -> Tensor:
    """What is kept of keys from 1 on: in the same order, and from 1 on as well."""
    return (key >> DROPPED_BITS) + 1
