"""Loading checkpoints without running what a stranger put into them, and saying what fits."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from mmdet_ols.checks.restricted_loading import allow_globals
from mmdet_ols.core import rename_old_keys

# The variables that `torch.load` obeys in every call, those of MMEngine included.
DISTRUST, TRUST = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'
TRUST_REMEDY = 'If you trust where the file comes from, pass --trust-checkpoint.'


@contextmanager
def loading_rules(trust: bool = False) -> Iterator[None]:
    """Decide for a block of code what its checkpoints may hold, those loaded by MMEngine included.

    Without trust they are loaded as data only: tensors, plain containers and the records of
    MMEngine. `torch.load` refuses those records by default (`HistoryBuffer`, NumPy arrays), so they
    are allowed by name, and nothing else is. MMEngine's own loader obeys too: its releases that
    know nothing of `weights_only` can then resume on torch 2.6 and later, and those that fall back
    to unsafe loading no longer do. Processes started inside the block inherit its rule; afterwards
    the rule that held before holds again.

    Args:
        trust: Whether to unpickle whatever a checkpoint holds, code included.
    """
    variables = {name: os.environ.pop(name, None) for name in (DISTRUST, TRUST)}
    os.environ[TRUST if trust else DISTRUST] = '1'
    try:
        with nullcontext() if trust else allow_globals(_mmengine_globals()):
            yield
    finally:
        for name, value in variables.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def load_checkpoint(path: str | Path, trust: bool | None = None) -> dict[str, Any]:
    """Load a local checkpoint onto the CPU.

    Args:
        path: The file.
        trust: Whether it may hold more than data, and so run code. By default the `loading_rules`
            around the call decide, and outside of any it may not.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, holds more than data, or is no checkpoint.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'There is no checkpoint file {path}.')
    trust = TRUST in os.environ if trust is None else trust
    try:
        with loading_rules(trust):
            checkpoint = torch.load(path, map_location='cpu', weights_only=not trust)
    except (UnpicklingError, RuntimeError, EOFError) as error:
        refused = re.search(r'GLOBAL (.+?)( was not|$)', str(error), re.M)
        if refused:
            raise ValueError(
                f'The checkpoint {path} was not loaded, since it holds more than tensors and the '
                f'records of MMEngine, and could run code: {refused[1]}. {TRUST_REMEDY}'
            ) from error
        raise ValueError(
            f'The checkpoint {path} cannot be read: it is not a checkpoint of PyTorch, or was cut '
            'short while it was written or copied. Use an earlier one, or copy it again.'
        ) from error
    if not isinstance(checkpoint, dict):
        raise ValueError(
            f"The checkpoint {path} must hold a dict (MMEngine's format or a state dict), but "
            f'holds a {type(checkpoint).__name__}.'
        )
    return checkpoint


class Fit:
    """How a checkpoint's state dict fits a model: which keys will be left out, and why."""

    def __init__(self, model: nn.Module, checkpoint: dict[str, Any]) -> None:
        own = {key: value for key, value in model.state_dict().items() if isinstance(value, Tensor)}
        given = {
            key.removeprefix('module.'): value
            for key, value in checkpoint.get('state_dict', checkpoint).items()
            if isinstance(value, Tensor)
        }
        rename_old_keys(given, model)
        #: Shapes (checkpoint's, model's) that differ.
        self.mismatched = {
            key: (tuple(given[key].shape), tuple(own[key].shape))
            for key in own.keys() & given.keys()
            if given[key].shape != own[key].shape
        }
        self.missing = sorted(own.keys() - given.keys())
        self.unexpected = sorted(given.keys() - own.keys())

    def __str__(self) -> str:
        lines = [
            f'of another shape: {key} is {theirs} in the checkpoint, {ours} in the model'
            for key, (theirs, ours) in sorted(self.mismatched.items())
        ]
        for what, keys in (
            ('only in the checkpoint, left out', self.unexpected),
            ('only in the model, kept as initialised', self.missing),
        ):
            if keys:
                more = f' and {len(keys) - 6} more' if len(keys) > 6 else ''
                lines.append(f'{what}: {", ".join(keys[:6])}{more}')
        return '\n'.join(f'  {line}' for line in lines)


def check_fits(model: nn.Module, checkpoint: dict[str, Any], path: str | Path, use: str) -> Fit:
    """Compare a checkpoint with the model that it will be loaded into, before anything is lost.

    Args:
        model: The model.
        checkpoint: As `load_checkpoint` returns it.
        path: Its file, for messages.
        use: 'resume', 'test' or 'start' (a new training, where other shapes are legal).

    Raises:
        ValueError: For resuming or testing, a tensor has another shape, as after training with
            another number of classes, or no tensor fits at all.
    """
    fit = Fit(model, checkpoint)
    if use == 'start':
        return fit
    if fit.mismatched or len(fit.missing) == len(model.state_dict()):
        classes = checkpoint.get('meta', {}).get('dataset_meta', {}).get('classes')
        trained = f' It was trained on {len(classes)} classes: {_few(classes)}.' if classes else ''
        raise ValueError(
            f'To {use} with {path} the model must be the one it was trained with.{trained}\n{fit}\n'
            'Use the config of that run (in its work directory), with the same classes. To start a '
            'new training from these weights instead, leave --resume out and pass '
            '--cfg-options load_from=' + str(path)
        )
    return fit


def _few(names: Any) -> str:
    names = [str(name) for name in names]
    return ', '.join(names[:8]) + (', ...' if len(names) > 8 else '')


@cache
def _mmengine_globals() -> list[Any]:
    """What MMEngine's checkpoints hold besides tensors and plain containers."""
    import numpy as np
    from mmengine.logging import HistoryBuffer
    from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler

    # Both are pickled with some of their own functions, which the format stores as
    # getattr(HistoryBuffer, 'mean'). The real getattr would reach anything from there.
    functions = {
        HistoryBuffer: ('min', 'max', 'mean', 'current'),
        OneCycleParamScheduler: ('_annealing_cos', '_annealing_linear'),
    }

    def known_function(owner: Any, name: str) -> Any:
        if not isinstance(owner, type) or name not in functions.get(owner, ()):
            raise UnpicklingError(f'Unsupported global: GLOBAL getattr({owner!r}, {name!r})')
        return getattr(owner, name)

    # The two functions that NumPy pickles arrays and scalars with; their module moved in NumPy 2.
    pickled_with: list[Any] = [np.empty(0).__reduce__()[0], np.float64().__reduce__()[0]]
    named = [
        (function, f'numpy.{core}.multiarray.{function.__name__}')
        for function in pickled_with
        for core in ('core', '_core')
    ]
    dtypes = {type(np.dtype(code)) for code in np.typecodes['AllInteger'] + 'efd?'}
    return [
        *functions,
        np.ndarray,
        np.dtype,
        *dtypes,
        *named,
        *((known_function, f'{module}.getattr') for module in ('builtins', '__builtin__')),
    ]
