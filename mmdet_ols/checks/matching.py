"""Which tensors of a state dict a model takes, as its own loading code decides."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.runner import checkpoint as hosts_checkpoints
from torch import Tensor, nn

from mmdet_ols.checks.problems import listed
from mmdet_ols.checks.silence import no_logging
from mmdet_ols.core import SampleState, rename_old_keys

#: A counter of batch normalisation that older files lack, and that nothing depends on.
COUNTER = 'num_batches_tracked'
#: Running statistics of batch normalisation, which a network needs as it needs its parameters.
STATISTICS = ('running_mean', 'running_var')


@dataclass
class WeightMatch:
    """Which tensors of a model a state dict gives values to, and which not, and why."""

    #: Keys of the model's tensors, with the number of learnt values in each (0: a buffer).
    sizes: dict[str, int]
    #: Those that get their values from the state dict.
    loaded: set[str] = field(default_factory=set)
    #: Shapes (state dict's, model's) that differ.
    mismatched: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    #: Keys of the state dict that the model does not know.
    unexpected: list[str] = field(default_factory=list)

    @property
    def missing(self) -> list[str]:
        """Keys of the model that the state dict does not have."""
        return sorted(self.sizes.keys() - self.loaded - self.mismatched.keys())

    @property
    def lacking(self) -> list[str]:
        """Keys of the model that the state dict should have given a value to, and does not."""
        return sorted(
            key
            for key, size in self.sizes.items()
            if key not in self.loaded and (size or key.endswith(STATISTICS))
        )

    @property
    def parameters(self) -> int:
        """How many parameters the model has."""
        return sum(self.sizes.values())

    @property
    def share(self) -> float:
        """Which share of the parameters get their values from the state dict."""
        return self.share_of(self.loaded)

    def share_of(self, keys: Iterable[str]) -> float:
        """Which share of all parameters these tensors hold."""
        if not self.parameters:
            return len(set(keys)) / max(len(self.sizes), 1)
        return sum(self.sizes[key] for key in keys) / self.parameters

    def part(self, name: str) -> WeightMatch:
        """The same of one child of the model; keys stay those of the whole model."""
        prefix = f'{name}.'
        return WeightMatch(
            {key: size for key, size in self.sizes.items() if key.startswith(prefix)},
            {key for key in self.loaded if key.startswith(prefix)},
            {key: shapes for key, shapes in self.mismatched.items() if key.startswith(prefix)},
            [key for key in self.unexpected if key.startswith(prefix)],
        )

    def __str__(self) -> str:
        lines = [
            f'of another shape: {key} is {theirs} in the checkpoint, {ours} in the model'
            for key, (theirs, ours) in sorted(self.mismatched.items())
        ]
        for what, keys in (
            ('only in the checkpoint, left out', sorted(self.unexpected)),
            ('only in the model, kept as initialised', self.missing),
        ):
            if keys:
                lines.append(f'{what}: {listed(keys, 6)}')
        return '\n'.join(f'  {line}' for line in lines)


def match_weights(model: nn.Module, state_dict: Mapping[str, Any]) -> WeightMatch:
    """Find out what of a state dict a model would load; nothing is loaded.

    The host's loading code runs on a copy of the model without memory. So keys that a model renames
    and tensors that it resizes while it loads them (as MMPretrain's transformers do) count as what
    they become.
    """
    given = {key: value for key, value in state_dict.items() if isinstance(value, Tensor)}
    rename_old_keys(given, model)
    try:
        twin = without_memory(model)
    except Exception:  # not every model of a user's own can be copied
        return _compare_keys(model, given)
    try:
        with recorded_loading(twin) as match:
            hosts_checkpoints.load_state_dict(twin, given, strict=False, logger='silent')
    except RuntimeError:  # loading code that asks for values, as that of MMCV's ConvAWS2d does
        return _compare_keys(model, given)
    return match


@contextmanager
def recorded_loading(twin: nn.Module) -> Iterator[WeightMatch]:
    """Yield what a model is given to load inside the block.

    Args:
        twin: A model of `without_memory`; it is of no use afterwards.
    """
    match, shapes = WeightMatch(_sizes(twin)), _shapes(twin)
    unexpected: dict[int, list[str]] = {}

    def record(path: str, module: nn.Module, state_dict: dict, prefix: str, *rest: Any) -> None:
        # PyTorch hands on one list in a call, and fills it as it goes.
        *_, unexpected_keys, _ = rest  # the last ones are error messages
        unexpected[id(unexpected_keys)] = unexpected_keys
        if isinstance(module, SampleState):  # which resizes itself as it loads
            module.allocate_as_saved(state_dict, prefix)
            shapes.update(_shapes(module, path))
        for name in (*module._parameters, *module._buffers):
            key, value = path + name, state_dict.get(prefix + name)
            if key not in shapes or not isinstance(value, Tensor):
                continue
            if tuple(value.shape) == shapes[key]:
                match.loaded.add(key)
                match.mismatched.pop(key, None)
            else:
                match.mismatched[key] = (tuple(value.shape), shapes[key])

    for name, module in twin.named_modules(remove_duplicate=False):
        # After the model's own hooks of this kind, which rename and resize.
        module._register_load_state_dict_pre_hook(
            partial(record, f'{name}.' if name else '', module)
        )
    with warnings.catch_warnings(), no_logging():
        warnings.filterwarnings('ignore', message='.*copying from a non-meta parameter.*')
        yield match
    for keys in unexpected.values():
        match.unexpected += [key for key in keys if not key.endswith(COUNTER)]


def _shapes(model: nn.Module, path: str = '') -> dict[str, tuple[int, ...]]:
    return {
        f'{path}{key}': tuple(value.shape)
        for key, value in model.state_dict().items()
        if isinstance(value, Tensor) and not key.endswith(COUNTER)
    }


def _sizes(model: nn.Module) -> dict[str, int]:
    learnt = {name: value.numel() for name, value in model.named_parameters()}
    return {key: learnt.get(key, 0) for key in _shapes(model)}


def _compare_keys(model: nn.Module, given: Mapping[str, Tensor]) -> WeightMatch:
    """The match of a model that cannot be copied, by keys and shapes as they are."""
    shapes = _shapes(model)
    theirs = {key: tuple(given[key].shape) for key in shapes if key in given}
    return WeightMatch(
        _sizes(model),
        {key for key, shape in theirs.items() if shape == shapes[key]},
        {key: (shape, shapes[key]) for key, shape in theirs.items() if shape != shapes[key]},
        [key for key in given if key not in shapes and not key.endswith(COUNTER)],
    )


def without_memory(model: nn.Module) -> nn.Module:
    """Copy a model with tensors on the meta device, which hold no values."""
    memo: dict[int, Any] = {}
    for module in model.modules():
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            if tensor is not None and id(tensor) not in memo:
                empty = torch.empty_like(tensor, device='meta')
                if isinstance(tensor, nn.Parameter):
                    empty = nn.Parameter(empty, requires_grad=False)
                memo[id(tensor)] = empty
    return copy.deepcopy(model, memo)


def check_match(
    model: nn.Module, checkpoint: dict[str, Any], path: str | Path, use: str
) -> WeightMatch:
    """Compare a checkpoint with the model that it will be loaded into, before anything is lost.

    Args:
        model: The model.
        checkpoint: As `load_checkpoint` returns it.
        path: Its file, for messages.
        use: 'resume', 'test' or 'start' (a new training, where other shapes are legal).

    Raises:
        ValueError: For resuming or testing, a tensor has another shape, as after training with
            another number of classes, or no tensor at all is the model's.
    """
    match = match_weights(model, state_dict_of(checkpoint))
    if use != 'start' and (match.mismatched or not match.loaded):
        classes = classes_of_checkpoint(checkpoint)
        trained = (
            f' It was trained on {len(classes)} classes: {listed(classes)}.' if classes else ''
        )
        instead = (
            ' To start a new training from these weights instead, leave --resume out and pass '
            f'--cfg-options load_from={path}'
        )
        raise ValueError(
            f'To {use} with {path} the model must be the one it was trained with.{trained}\n'
            f'{match}\nUse the config of that run (in its work directory), with the same classes.'
            + (instead if use == 'resume' else '')
        )
    return match


def state_dict_of(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors of a checkpoint by the keys that MMEngine looks them up by."""
    state_dict = checkpoint.get('state_dict', checkpoint)
    if not isinstance(state_dict, Mapping):
        raise ValueError(
            "The entry 'state_dict' of a checkpoint must hold tensors by their names, but holds a "
            f'{type(state_dict).__name__}: save model.state_dict() there.'
        )
    return {key.removeprefix('module.'): value for key, value in state_dict.items()}


def classes_of_checkpoint(content: Mapping[str, Any]) -> tuple[str, ...]:
    """The class names that a checkpoint was trained on, as far as it says."""
    meta = content.get('meta') or {}
    for place in (meta.get('dataset_meta') or {}, meta):
        for key in ('classes', 'CLASSES'):  # older releases wrote capitals
            names = place.get(key)
            if isinstance(names, (list, tuple)):
                return tuple(map(str, names))
    return ()
