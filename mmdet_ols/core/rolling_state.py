"""States that collect during a period of training and change when the period is over."""

from __future__ import annotations

import warnings
from typing import Any, Callable, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mmdet_ols.core.teaching import teaching_allowed

#: Tensors of a state by name.
Sums = dict[str, Tensor]
Self = TypeVar('Self', bound='RollingState')


class RollingState(nn.Module):
    """What a loss keeps over a period: what is in use, and what is collected for the next one.

    A subclass names its tensors in `in_use`, `collected` and `added` and registers all of them as
    buffers in its constructor. It says how they start (`_start`), what a roll-over does
    (`_put_into_use`), and, for what is not simply added up, how to merge (`_merge`, `_combine`).

    **Buffers.** Everything that a checkpoint holds is a real buffer, since loaders of the ecosystem
    know parameters and buffers only. Floating-point buffers are float32 whatever the model is
    converted to.

    **Several processes.** The buffers are equal on all ranks at all times, so that DDP's
    `broadcast_buffers`, hooks that average buffers, and checkpoints that take a tensor from any
    rank do no harm. What a rank has seen since the last merge is private to it: no buffer, made
    when it is first needed, on the buffers' device. `reduce_sums` and `roll_over` merge it into
    the buffers of all ranks. A single process collects in the buffers themselves.

    **When it changes.** Training steps change what is collected, in `train()` mode and outside of
    `no_teaching` only. What is in use changes in `roll_over` only.
    """

    #: Names of the buffers that are in use.
    in_use: tuple[str, ...] = ()
    #: Names of the buffers with what was collected since the last roll-over; 0 is empty.
    collected: tuple[str, ...] = ()
    #: Those of `collected` that are sums: the values of several ranks are added up.
    added: tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        #: Whether something will call the roll-over; a hook that does sets this early.
        self.roll_over_scheduled = False
        self._own: Sums | None = None
        #: Whether buffers may hold what happened to be in memory; see `_start_unless_loaded`.
        self._made_on_meta = False

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """As `nn.Module.register_buffer`; notes where there are no values to begin with."""
        super().register_buffer(name, tensor, persistent)
        if tensor is not None and tensor.is_meta:
            self._made_on_meta = True

    def reset_parameters(self) -> None:
        """Put everything back to how it starts."""
        self._made_on_meta = False
        self._start()
        self.reset_sums()

    def _start(self) -> None:
        """Fill the buffers in use with their start values."""
        raise NotImplementedError

    def _start_unless_loaded(self) -> None:
        """Start over, once, if the buffers have left the meta device with values that mean nothing.

        Loaders that make a model there, as Transformers' `from_pretrained`, put uninitialised
        memory where their checkpoint has no entry, as that of a model without the loss.
        """
        if not self._made_on_meta or any(buffer.is_meta for buffer in self.buffers()):
            return
        self._made_on_meta = False
        if not self._is_possible():
            self.reset_parameters()
        elif self.has_sums():  # saved in the middle of a period by something that rolls over
            self.roll_over_scheduled = True

    def _is_possible(self) -> bool:
        """Whether the buffers hold what a training could have left there."""
        return True

    # --- collecting -------------------------------------------------------------------------------

    @property
    def learns(self) -> bool:
        """Whether a training step may add to what is collected now."""
        return self.training and teaching_allowed()

    def collecting(self) -> Sums:
        """The tensors that a training step adds to, in place."""
        # A conversion is one of all buffers: in every step, one of them is enough to look at.
        if self._buffers[self.added[0]].dtype != torch.float32:  # type: ignore[union-attr]
            self._keep_float32()
        return self._collected_buffers() if world_size() < 2 else self._own_sums()

    def so_far(self) -> Sums:
        """What was collected since the last roll-over, as far as this rank knows.

        That is what was merged, and what this rank has seen since. To be read only.
        """
        sums = self._collected_buffers()
        if self._own is not None:
            sums = {name: tensor.clone() for name, tensor in sums.items()}
            self._combine(sums, self._own_sums())
        return sums

    def reset_sums(self) -> None:
        """Forget what was collected since the last roll-over."""
        for sums in (self._collected_buffers(), self._own or {}):
            for tensor in sums.values():
                tensor.zero_()

    def _collected_buffers(self) -> Sums:
        # Not by `getattr`, which takes several times as long in a module: this is asked every step.
        return {name: self._buffers[name] for name in self.collected}  # type: ignore[misc]

    def _own_sums(self) -> Sums:
        """What this rank has seen since the last merge, on the buffers' device."""
        if self._own is None:
            self._own = {
                name: torch.zeros_like(tensor) for name, tensor in self._collected_buffers().items()
            }
        # FSDP moves buffers one by one and not through `_apply`.
        for name, tensor in self._own.items():
            device = getattr(self, name).device
            if tensor.device != device:
                self._own[name] = tensor.to(device)
        return self._own

    # --- the end of a period ----------------------------------------------------------------------

    @torch.no_grad()
    def roll_over(self, group: dist.ProcessGroup | None = None) -> Any:
        """Put into use what all ranks have collected, and start collecting from zero.

        A collective call under `torch.distributed`: every rank of `group` must make it.

        Returns:
            What the period taught, in a form of the subclass's own.
        """
        self.reduce_sums(group)
        report = self._put_into_use()
        self.reset_sums()
        self.roll_over_scheduled = True
        return report

    @torch.no_grad()
    def reduce_sums(self, group: dist.ProcessGroup | None = None) -> None:
        """Merge what the ranks have seen: every rank's buffers then hold the total.

        Collective, and harmless to the next roll-over. Call it on every rank before a checkpoint
        that is written between two roll-overs; without `torch.distributed` it does nothing.
        """
        self._keep_float32()
        if world_size(group) > 1:
            self._merge(self._own_sums(), group)
        if self._own is None:
            return
        self._combine(self._collected_buffers(), self._own_sums())
        for tensor in self._own.values():
            tensor.zero_()

    def from_old(self, name: str, tensor: Tensor) -> Tensor:
        """Bring a tensor of an earlier checkpoint up to date (see `rename_old_keys`)."""
        return tensor

    def _put_into_use(self) -> Any:
        """Make from the collected buffers what is in use from now on; return a report of it."""
        raise NotImplementedError

    def _merge(self, own: Sums, group: dist.ProcessGroup | None) -> None:
        """Make `own`, what this rank has seen, what all ranks of the group have seen."""
        for name in self.added:
            dist.all_reduce(own[name], group=group)

    def _combine(self, total: Sums, own: Sums) -> None:
        """Add what `own` holds to `total`, in place."""
        for name in self.added:
            total[name] += own[name]

    # --- what it is to PyTorch --------------------------------------------------------------------

    def train(self: Self, mode: bool = True) -> Self:
        """As `nn.Module.train`; warns when a training pass went by without a roll-over."""
        self._start_unless_loaded()
        if mode:
            self.warn_without_roll_over(type(self).__name__)
        super().train(mode)
        return self

    def warn_without_roll_over(self, name: str) -> None:
        """Warn, once, if samples were collected and nothing is known to call the roll-over.

        Loops call `train()` between two passes, so that looking at the sums costs no step anything.
        """
        self._start_unless_loaded()
        if not self.roll_over_scheduled and self.has_sums():
            self.roll_over_scheduled = True
            warnings.warn(
                f'{name} has been trained on, and its soft labels were not updated yet. If nothing '
                "will: add default_hooks=dict(ols=dict(type='OLSHook')) to the config, or call "
                'update_soft_labels() after every epoch of your own loop.',
                stacklevel=3,
            )

    def has_sums(self) -> bool:
        """Whether anything was collected since the last roll-over, in this process or before."""
        tensors = [*self._collected_buffers().values(), *(self._own or {}).values()]
        return any(not tensor.is_meta and bool(tensor.any()) for tensor in tensors)

    def _keep_float32(self) -> None:
        """Undo conversions that went past `_apply`, as those of FSDP's mixed precision."""
        for name, buffer in self._buffers.items():
            if buffer is not None and buffer.dtype != torch.float32 and buffer.is_floating_point():
                self._buffers[name] = buffer.float()

    def _apply(self: Self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # `.to()` and its kin leave the state in float32: in half precision the small entries that
        # it is made of would be lost.
        before = dict(self.named_buffers())
        super()._apply(fn)
        for name, old in before.items():
            new = getattr(self, name)
            if new.dtype != old.dtype:
                setattr(self, name, old.to(new.device))
        if self._own is not None:
            self._own_sums()  # follow the buffers
        return self

    def _replicate_for_data_parallel(self: Self) -> Self:
        replica: Self = super()._replicate_for_data_parallel()
        # Only one of the devices would count: the buffers of the others are thrown away.
        replica.collecting = self._refuse_replica  # type: ignore[method-assign]
        return replica

    def _refuse_replica(self) -> Sums:
        raise RuntimeError(
            f'{type(self).__name__} cannot learn in a replica of nn.DataParallel, which forgets '
            'what its replicas collect: train with DistributedDataParallel, or call the loss '
            "outside of the wrapped model, on the model's outputs."
        )

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
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
        if any(prefix + name in state_dict for name in self.collected):
            # What was saved takes the place of what this rank has seen.
            for tensor in (self._own or {}).values():
                tensor.zero_()
        self._keep_float32()  # load_state_dict(assign=True) takes tensors as they are
        if self.has_sums():  # resumed in the middle of a period by something that rolls over
            self.roll_over_scheduled = True


def find_states(model: nn.Module) -> dict[str, RollingState]:
    """Find every rolling state of a model, each one once.

    Args:
        model: Not wrapped, as by DDP: the names would be those of the wrapper.

    Returns:
        By the path of its loss, for a state that sits at `<loss>.state`, else by its own path.
    """
    return {
        state_name(path): module
        for path, module in model.named_modules()
        if isinstance(module, RollingState)
    }


def state_paths(model: nn.Module) -> dict[str, RollingState]:
    """Find every place of a rolling state in a model; a shared state has several.

    Returns:
        By path, as in the keys of a state dict.
    """
    return {
        path: module
        for path, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, RollingState)
    }


def state_name(path: str) -> str:
    """The name of a state that sits at `path` (see `find_states`)."""
    parent, _, own = path.rpartition('.')
    return parent if own == 'state' else path


def rename_old_keys(state_dict: dict[str, Any], model: nn.Module, prefix: str = '') -> None:
    """Bring the keys of earlier checkpoints, in which a loss was its own state, up to date.

    Args:
        state_dict: Changed in place; keys of the present form stay as they are.
        model: The loss or the model that it is for.
        prefix: Of the model in the state dict, with its dot.
    """
    for path, state in state_paths(model).items():
        loss = state_name(path)
        if loss == path:  # not the state of a loss
            continue
        old = prefix + (f'{loss}.' if loss else '')
        for name in (*state.in_use, *state.collected):
            if old + name in state_dict:
                value = state.from_old(name, state_dict.pop(old + name))
                state_dict.setdefault(f'{prefix}{path}.{name}', value)


def world_size(group: dist.ProcessGroup | None = None) -> int:
    """Number of processes of a group, or of all; 1 without `torch.distributed`."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_world_size(group)
    return 1
