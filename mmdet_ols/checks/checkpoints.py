"""Loading checkpoints without running what a stranger put into them."""

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

from mmdet_ols.checks.restricted_loading import allow_globals

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


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Load a local checkpoint onto the CPU.

    The `loading_rules` around the call decide whether it may hold more than data, and so run code;
    outside of any it may not.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, holds more than data, or is no checkpoint.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'There is no checkpoint file {path}.')
    trust = TRUST in os.environ
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
