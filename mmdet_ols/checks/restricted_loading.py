"""Say what `torch.load(weights_only=True)` may call besides what torch itself allows.

From 2.6 on, torch takes a list of such functions. Before, it refuses all of them, and with them
every checkpoint of MMEngine. Those releases read checkpoints with the unpickler below, which calls
what torch allows and what is on the list, and nothing else.
"""

from __future__ import annotations

import _codecs
import pickle
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from mmengine.utils import digit_version

#: What later releases of torch allow as well: more containers, and what old protocols call.
PLAIN = {
    **{f'{module}.set': set for module in ('builtins', '__builtin__')},
    **{f'{module}.bytearray': bytearray for module in ('builtins', '__builtin__')},
    'collections.Counter': Counter,
    '_codecs.encode': _codecs.encode,
}


@contextmanager
def allow_globals(allowed: Sequence[Any]) -> Iterator[None]:
    """Let `torch.load(weights_only=True)` call these too; afterwards holds again what held before.

    Args:
        allowed: Functions and classes, or pairs of one and the name that checkpoints give it.
    """
    serialization: Any = torch.serialization
    if digit_version(torch.__version__) < digit_version('2.6'):
        usual = serialization._weights_only_unpickler
        serialization._weights_only_unpickler = _unpickler_for(allowed)
        try:
            yield
        finally:
            serialization._weights_only_unpickler = usual
        return
    # Not the context manager `safe_globals` of PyTorch, which on leaving also takes away what was
    # allowed before.
    before = serialization.get_safe_globals()
    serialization.add_safe_globals(allowed)
    try:
        yield
    finally:
        serialization.clear_safe_globals()
        serialization.add_safe_globals(before)


def _unpickler_for(allowed: Sequence[Any]) -> SimpleNamespace:
    """Return what torch takes for the module `pickle`: `Unpickler` and `load`.

    Args:
        allowed: As for `allow_globals`.
    """
    of_torch: Any = torch._weights_only_unpickler
    names = {**PLAIN, **of_torch._get_allowed_globals()}
    for item in allowed:
        value, name = item if isinstance(item, tuple) else (item, None)
        names[name or f'{value.__module__}.{value.__qualname__}'] = value

    # Written in Python: that in C has no steps that could be refused.
    base: Any = pickle._Unpickler

    class Unpickler(base):
        dispatch = dict(base.dispatch)

        def find_class(self, module: str, name: str) -> Any:
            if f'{module}.{name}' not in names:
                raise pickle.UnpicklingError(f'Unsupported global: GLOBAL {module}.{name}')
            return names[f'{module}.{name}']

        def load_build(self) -> None:
            # It sets attributes. Those of an allowed class or function would hold from then on.
            target = self.stack[-2]
            if callable(target):
                raise pickle.UnpicklingError(f'Unsupported state: GLOBAL {target!r}')
            super().load_build()

        dispatch[pickle.BUILD[0]] = load_build

        def load(self) -> Any:
            try:
                return super().load()
            except (KeyError, IndexError, ValueError) as error:
                raise pickle.UnpicklingError(f'This is no pickle: {error!r}') from error

    def load(file: Any, **options: Any) -> Any:
        return Unpickler(file, **options).load()

    return SimpleNamespace(Unpickler=Unpickler, load=load, __name__='restricted')
