"""What a checkpoint holds of the rolling states, and how a late loss finds its state again."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmdet_ols.core import RollingState, rename_old_keys, state_name
from mmdet_ols.core.rolling_state import world_size

#: States of a model by path, as in the keys of a state dict.
Paths = Mapping[str, RollingState]


class CheckpointWriter:
    """Writes the live states into checkpoints.

    The sums of an unfinished period are saved where the loop resumes exactly there, and left out
    where MMEngine replays the epoch from its start.
    """

    def __init__(self) -> None:
        self._started_epoch = -1
        self._at_epoch_start: dict[str, Tensor] = {}
        self._sums_are_complete = True

    def start_epoch(self, epoch: int, paths: Paths) -> None:
        """Keep the sums that an epoch starts with, in case that it is replayed."""
        self._started_epoch = epoch
        self._at_epoch_start = {  # not 0 where a period is longer than an epoch
            f'{path}.{key}': tensor.clone()
            for path, state in paths.items()
            for key, tensor in state.so_far().items()
        }

    def start_period(self) -> None:
        """Forget what a roll-over has put into use."""
        self._at_epoch_start.clear()
        self._sums_are_complete = True

    def count_step(self) -> None:
        """Note that a training step may have added to the sums of a rank."""
        self._sums_are_complete = False

    def merge_sums(self, paths: Paths) -> None:
        """Share the sums of all ranks, since only rank 0 writes a checkpoint; collective."""
        if world_size() > 1 and not self._sums_are_complete:
            for state in dict.fromkeys(paths.values()):
                state.reduce_sums()
        self._sums_are_complete = True

    def write(self, runner: Any, checkpoint: dict[str, Any], paths: Paths) -> None:
        """Write the live states; runs only on rank 0, so nothing collective can happen here."""
        replayed = self._will_be_replayed(runner, checkpoint)
        self._say_what_is_left_out(runner, replayed, paths)
        for path, state in paths.items():
            live = {key: getattr(state, key) for key in state.in_use}
            for key, tensor in {**live, **state.so_far()}.items():
                tensor = tensor.detach().to('cpu', copy=True)
                if replayed and key in state.collected:
                    start = self._at_epoch_start.get(f'{path}.{key}')
                    tensor = torch.zeros_like(tensor) if start is None else start.cpu()
                # FlexibleRunner saves the names of DDP's wrapper; loading strips them, and there
                # must not be two of one name then.
                checkpoint['state_dict'].pop(f'module.{path}.{key}', None)
                checkpoint['state_dict'][f'{path}.{key}'] = tensor
                if 'ema_state_dict' in checkpoint:  # from where EMAHook takes it when resuming
                    checkpoint['ema_state_dict'][f'module.{path}.{key}'] = tensor

    def _will_be_replayed(self, runner: Any, checkpoint: dict[str, Any]) -> bool:
        """Whether resuming starts the epoch again whose samples are in the sums."""
        from mmengine.runner import EpochBasedTrainLoop

        return (
            isinstance(runner.train_loop, EpochBasedTrainLoop)
            and checkpoint['meta']['epoch'] <= self._started_epoch
        )

    def _say_what_is_left_out(self, runner: Any, replayed: bool, paths: Paths) -> None:
        if replayed and any(state.has_sums() for state in paths.values()):
            runner.logger.info(
                f'Resuming from this checkpoint replays epoch {self._started_epoch + 1} from its '
                'start, so the samples counted in it so far are left out.'
            )
        if paths and not self._sums_are_complete and not replayed and world_size() > 1:
            runner.logger.warning(
                'This checkpoint is written at a time that OLSHook could not foresee: it holds '
                "rank 0's part of the unfinished soft labels only. Resuming from it counts a "
                'part of the samples.'
            )


class LoadedCheckpoint:
    """Keeps of a loaded checkpoint what belongs to losses that the model does not have yet.

    Hooks such as MMPretrain's `SwitchRecipeHook` build a loss before the first step of a resumed
    run, but after the checkpoint was loaded.
    """

    def __init__(self) -> None:
        self._entries: dict[str, Any] = {}  # what may still have to be loaded
        self._names: set[str] | None = None  # of all of its tensors; None without a checkpoint

    def keep(self, runner: Any, checkpoint: dict[str, Any], model: nn.Module, paths: Paths) -> None:
        """Look at a checkpoint that is going to be loaded into the model; before it is.

        A new training does not inherit the sums of an old one: they are set to 0 in the checkpoint.
        """
        saved = checkpoint.get('state_dict', checkpoint)
        if not runner._resume:
            _without_sums(saved, paths)
        entries = {key.removeprefix('module.'): value for key, value in saved.items()}
        self._names = set(entries)
        tensors = itertools.chain(model.named_parameters(), model.named_buffers())
        loaded = {name for name, _ in tensors}
        if runner._resume:  # a loss that is there may be exchanged for the one that was saved
            loaded -= {f'{path}.{key}' for path, state in paths.items() for key in _keys(state)}
        self._entries = {key: value for key, value in entries.items() if key not in loaded}

    def absent(self, paths: Paths) -> list[str]:
        """The losses whose soft labels the checkpoint does not hold; none without a checkpoint."""
        if self._names is None:
            return []
        return [
            state_name(path)
            for path, state in paths.items()
            if not any(prefix + state.in_use[0] in self._names for prefix in _prefixes(path))
        ]

    def restore(self, runner: Any, model: nn.Module, late: Paths) -> set[str]:
        """Load what was kept into states that have appeared since; returns their names."""
        from mmengine.runner import load_state_dict

        restored = set()
        rename_old_keys(self._entries, model)
        for path, state in late.items():
            start = f'{path}.'
            own = {
                key[len(start) :]: value
                for key, value in self._entries.items()
                if key.startswith(start)
            }
            if own:
                load_state_dict(state, own, logger=runner.logger)
                restored.add(state_name(path))
                if not runner._resume:
                    state.reset_sums()
        return restored

    def forget(self, paths: Paths) -> None:
        """Drop what was kept for states that are there and have it."""
        for path, state in paths.items():
            for prefix in _prefixes(path):
                for key in _keys(state):
                    self._entries.pop(prefix + key, None)

    def forget_all(self) -> None:
        """Drop all that was kept."""
        self._entries = {}


def check_order(own: Any, hooks: Sequence[Any]) -> None:
    """Make sure that checkpoints can hold the live states.

    EMAHook exchanges the states in a checkpoint for its own, so it has to come before them; what
    is put into use at the end of an epoch has to come before CheckpointHook saves it.

    Args:
        own: The hook that serves the states.
        hooks: Those of the runner, in their order.

    Raises:
        ValueError: A `priority` puts them into another order.
    """
    from mmengine.hooks import CheckpointHook, EMAHook

    place = hooks.index(own)
    wrong = [(hook, 'after') for hook in hooks[:place] if isinstance(hook, CheckpointHook)]
    wrong += [(hook, 'before') for hook in hooks[place:] if isinstance(hook, EMAHook)]
    for hook, where in wrong:
        raise ValueError(
            f'{type(hook).__name__} must come {where} {type(own).__name__}, or checkpoints would '
            f'not hold what is in use, but `priority` of the two is {hook.priority!r} and '
            f'{own.priority!r}: leave `priority` out.'
        )


def saves_now(runner: Any) -> bool:
    """Whether a CheckpointHook saves after this iteration."""
    from mmengine.hooks import CheckpointHook

    return any(
        isinstance(hook, CheckpointHook)
        and not hook.by_epoch
        and (
            hook.every_n_train_iters(runner, hook.interval, hook.save_begin)
            or (hook.save_last and hook.is_last_train_iter(runner))
        )
        for hook in runner.hooks
    )


def _without_sums(saved: dict[str, Any], paths: Paths) -> None:
    """Set the sums of states to 0 in a checkpoint."""
    for path, state in paths.items():
        for key in (prefix + name for prefix in _prefixes(path) for name in state.collected):
            if key in saved:
                saved[key] = saved[key].new_zeros(saved[key].shape)


def _prefixes(path: str) -> list[str]:
    """What the keys of a state begin with; in earlier checkpoints with the name of its loss."""
    name = state_name(path)
    return [f'{path}.', f'{name}.' if name else '']


def _keys(state: RollingState) -> tuple[str, ...]:
    return (*state.in_use, *state.collected)
