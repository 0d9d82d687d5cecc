"""What a method knows about each training sample: its label, its weight, its loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mmdet_ols.core.arguments import check_integer
from mmdet_ols.core.rolling_state import RollingState, Sums

#: Name of each value, and the shape that it has for one sample.
Shapes = Mapping[str, tuple[int, ...]]
#: How many periods a sample has been recorded in, and how often in the running one.
PERIODS, COUNT = 'periods', 'count'


class SampleState(RollingState):
    """Values of each of N training samples, which are saved, resumed, and equal on all ranks.

    There are three kinds of values. All are float32 buffers of N rows, which start at 0:

    - **measured** values are set for all samples at once (`put`), as by a pass over the data;
    - **recorded** values come from the training steps (`record`). A roll-over puts the mean of a
      period into use; a sample that did not occur keeps its value. `periods` says how many periods
      a sample has occurred in, so that 0 means: nothing is known.
    - **adjusted** values are changed by the training steps (`adjust`), and every step sees the
      changes of the earlier ones of its own rank (`now`). A roll-over joins the changes of all
      ranks.

    Values of the data **as a whole**, such as the parameters of a distribution, are set by `put`.

    A state that is made without a number of samples has no rows until `allocate` is called, or
    until it loads a checkpoint.

    Args:
        num_samples: N; None where it is not known yet.
        measured: The values of the first kind.
        recorded: Those of the second kind.
        adjusted: Those of the third kind.
        whole: Those of the data as a whole, each with its shape.

    Raises:
        ValueError: The number of samples is negative, or a name occurs twice.

    Example:
        >>> state = SampleState(3, recorded=dict(weight=()))
        >>> state.record(torch.tensor([2, 0]), weight=torch.tensor([0.5, 1.0]))
        >>> state.roll_over()
        2
        >>> state.weight
        tensor([1.0000, 0.0000, 0.5000])
    """

    periods: Tensor

    def __init__(
        self,
        num_samples: int | None = None,
        measured: Shapes | None = None,
        recorded: Shapes | None = None,
        adjusted: Shapes | None = None,
        whole: Shapes | None = None,
    ) -> None:
        super().__init__()
        kinds = [dict(kind or {}) for kind in (measured, recorded, adjusted, whole)]
        self.measured, self.recorded, self.adjusted, self.whole = kinds
        names = [name for kind in kinds for name in kind]
        if len(set(names)) < len(names) or {PERIODS, COUNT} & set(names):
            raise ValueError(
                f'The values of a SampleState must have different names, none of them '
                f'{PERIODS!r} or {COUNT!r}, but got {names}.'
            )
        self._shapes: dict[str, tuple[int, ...]] = {**kinds[0], **kinds[1], **kinds[2]}
        collected = {f'{name}_sum': shape for name, shape in self.recorded.items()}
        collected.update({f'{name}_change': shape for name, shape in self.adjusted.items()})
        if self.recorded:
            self._shapes[PERIODS] = ()
            collected[COUNT] = ()
        self.in_use = (*self._shapes, *self.whole)
        self.collected = self.added = tuple(collected)
        self._shapes.update(collected)
        for name, shape in self._shapes.items():
            self.register_buffer(name, torch.zeros(0, *shape, dtype=torch.float32))
        for name, shape in self.whole.items():
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float32))
        if num_samples is not None:
            self.allocate(num_samples)

    @property
    def num_samples(self) -> int:
        """N; 0 where it is not known yet."""
        return len(self.get_buffer(self.in_use[0]))

    def allocate(self, num_samples: int) -> None:
        """Make room for the values of this many samples, all of them 0.

        Raises:
            ValueError: The number is negative.
        """
        check_integer('num_samples', num_samples, least=0)
        self._own = None
        for name, shape in self._shapes.items():
            device = self.get_buffer(name).device
            self._buffers[name] = torch.zeros(
                num_samples, *shape, dtype=torch.float32, device=device
            )
        for name in self.whole:
            self.get_buffer(name).zero_()

    @property
    def is_known(self) -> bool:
        """Whether the values may be used; to be overridden where a pass has to measure them."""
        return True

    def opinion(self) -> dict[str, Tensor]:
        """What the method thinks of each label: for the report, and to be overridden.

        Returns:
            `label` (N,), the label that it would give; `weight` (N,), how much it counts the given
            one, 1 being what it is without the method; or one of the two. NaN, and -1 for a label,
            where it does not know yet. The default is the value called `weight`.
        """
        if 'weight' not in self._shapes:
            return {}
        weight = self.get_buffer('weight')
        if 'weight' in self.recorded:
            weight = torch.where(self.periods > 0, weight, torch.nan)
        return dict(weight=weight)

    # --- changing values --------------------------------------------------------------------------

    @torch.no_grad()
    def put(self, **values: Tensor) -> None:
        """Set measured values of all samples, or of the whole; every rank has to set the same."""
        for name, value in values.items():
            if name not in self.measured and name not in self.whole:
                known = [*self.measured, *self.whole]
                raise ValueError(f'`put` sets the measured values {known}, but got {name!r}.')
            self.get_buffer(name).copy_(value)

    @torch.no_grad()
    def record(self, sample_idx: Tensor, **values: Tensor) -> None:
        """Record values of the samples of a training step, if the state learns now.

        Args:
            sample_idx: Numbers of the samples, (B,).
            **values: All recorded values, each with B rows. A row that is not finite is left out.

        Raises:
            ValueError: A value is missing or unknown, or a number is out of range (on a CPU).
        """
        if values.keys() != self.recorded.keys():
            raise ValueError(
                f'`record` takes the recorded values {list(self.recorded)}, all of them, but got '
                f'{list(values)}.'
            )
        if not self.learns:
            return
        sums = self.collecting()
        index = self._checked(sample_idx).to(sums[COUNT].device)
        rows = {name: value.detach().to(sums[COUNT]) for name, value in values.items()}
        finite = torch.ones_like(index, dtype=torch.bool)
        for value in rows.values():
            finite &= finite_rows(value)
        sums[COUNT].index_add_(0, index, finite.float())
        for name, value in rows.items():
            sums[f'{name}_sum'].index_add_(0, index, torch.where(_by_row(finite, value), value, 0))

    @torch.no_grad()
    def adjust(self, sample_idx: Tensor, **changes: Tensor) -> None:
        """Add changes to adjusted values of the samples of a training step, if the state learns.

        Args:
            sample_idx: Numbers of the samples, (B,).
            **changes: Each with B rows. A row that is not finite is left out.
        """
        if not self.learns:
            return
        sums = self.collecting()
        index = self._checked(sample_idx)
        for name, change in changes.items():
            total = sums[f'{name}_change']
            change = change.detach().to(total)
            finite = _by_row(finite_rows(change), change)
            total.index_add_(0, index.to(total.device), torch.where(finite, change, 0))

    @torch.no_grad()
    def now(self, name: str, sample_idx: Tensor) -> Tensor:
        """An adjusted value of some samples, with all changes that this rank knows of."""
        value = self.get_buffer(name)
        index = self._checked(sample_idx).to(value.device)
        total = value[index] + self.get_buffer(f'{name}_change')[index]
        return total if self._own is None else total + self._own_sums()[f'{name}_change'][index]

    def _checked(self, sample_idx: Tensor) -> Tensor:
        if sample_idx.device.type == 'cpu' and len(sample_idx):
            low, high = int(sample_idx.min()), int(sample_idx.max())
            if low < 0 or high >= self.num_samples:
                raise ValueError(
                    f'`sample_idx` must hold numbers in [0, {self.num_samples - 1}], one for each '
                    f'of the {self.num_samples} training samples, but got {low} to {high}: give '
                    '`num_samples` of the data set that is trained on, and put NumberedDataset '
                    'around all of its wrappers.'
                )
        return sample_idx

    # --- as a rolling state -----------------------------------------------------------------------

    def _start(self) -> None:
        for name in self.in_use:
            self.get_buffer(name).zero_()

    def _put_into_use(self) -> int:
        """Returns the number of samples that were recorded in the period."""
        for name in self.adjusted:
            value = self.get_buffer(name)
            value += self.get_buffer(f'{name}_change')
        if not self.recorded:
            return 0
        count = self.get_buffer(COUNT)
        seen = count > 0
        self.periods += seen
        for name in self.recorded:
            value, total = self.get_buffer(name), self.get_buffer(f'{name}_sum')
            mean = total / _by_row(count.clamp(min=1), value)
            value.copy_(torch.where(_by_row(seen, value), mean, value))
        return int(seen.sum())

    def warn_without_roll_over(self, name: str) -> None:
        """Nothing to warn of: values are seen at once, or kept until a roll-over."""

    def collecting(self) -> Sums:
        """See `RollingState`; a state without rows cannot collect.

        Raises:
            ValueError: The number of samples is not known yet.
        """
        if not self.num_samples:
            raise ValueError(
                f'{type(self).__name__} does not know the number of training samples: give '
                "`num_samples`, or add default_hooks=dict(samples=dict(type='SampleStateHook')) "
                'to the config.'
            )
        return super().collecting()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        self.allocate_as_saved(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def allocate_as_saved(self, state_dict: Mapping[str, Any], prefix: str) -> None:
        """Make room for as many samples as a state dict holds, unless there is room already.

        Args:
            state_dict: What is going to be loaded.
            prefix: What the keys of this state begin with there.
        """
        saved = state_dict.get(prefix + self.in_use[0])
        if isinstance(saved, Tensor) and saved.dim() and not self.num_samples:
            self.allocate(len(saved))


def finite_rows(values: Tensor) -> Tensor:
    """Whether all that values of shape (B, ...) have for a sample is finite, (B,)."""
    return values.unsqueeze(1).flatten(1).isfinite().all(1)


def _by_row(numbers: Tensor, values: Tensor) -> Tensor:
    """Numbers of shape (B,) in a shape that is combined with values of shape (B, ...)."""
    return numbers.reshape(-1, *[1] * (values.dim() - 1))


def sample_numbers(data_samples: Sequence[Any]) -> Tensor:
    """The numbers of a batch of MMPretrain's data samples, as `NumberedDataset` gave them.

    Args:
        data_samples: Each with `sample_idx`, as `PackInputs` packs it.

    Returns:
        Of shape (B,), int64, on the CPU.

    Raises:
        ValueError: A sample has no number.
    """
    numbers = [sample.get('sample_idx') for sample in data_samples]
    if any(number is None for number in numbers):
        raise ValueError(
            'Every training sample must have a number, but `sample_idx` is missing: put '
            "dict(type='NumberedDataset', dataset=...) around the training data."
        )
    return torch.tensor(numbers, dtype=torch.int64)
