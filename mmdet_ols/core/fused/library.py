"""Making the compiled library of `cross_entropy.cpp`, and keeping it for later processes.

The machine's own C++ compiler makes it when it is first needed, in about a second.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Callable

import torch

from mmdet_ols.core.cache import cache_folder
from mmdet_ols.core.whole_files import whole_file

SOURCE = Path(__file__).with_name('cross_entropy.cpp')
FLAGS = (
    *('-O3', '-march=native', '-fno-math-errno', '-fno-trapping-math'),
    *('-std=c++17', '-shared', '-fPIC', '-pthread'),
)
COMPILERS = ('c++', 'g++', 'clang++')


class CannotCompileError(RuntimeError):
    """This machine cannot make the compiled form; the message says why, and what to do."""


@functools.cache
def compiled_library() -> dict[torch.dtype, Callable[..., bool]]:
    """The compiled function for each type of logits, made at the first call.

    Raises:
        CannotCompileError: There is no library yet, and no compiler that makes one.
    """
    try:
        loaded = _load_library()
    except (OSError, ValueError) as error:  # the latter for quotes in CXX
        raise CannotCompileError(
            f'The library of {SOURCE.name} could not be made or loaded: {error}.'
        ) from error
    size, pointer, real = ctypes.c_int64, ctypes.c_void_p, ctypes.c_double
    functions: dict[torch.dtype, Any] = {
        torch.float32: loaded.ols_cross_entropy_float32,
        torch.bfloat16: loaded.ols_cross_entropy_bfloat16,
    }
    for function in functions.values():
        function.argtypes = [*[size] * 3, *[pointer] * 3, *[real] * 2, *[pointer] * 6, ctypes.c_int]
        function.restype = ctypes.c_bool
    return functions


def _load_library() -> ctypes.CDLL:
    """Load the library from the cache, or compile it and keep it there if the cache is writable."""
    identity = '\n'.join([*FLAGS, _processor(), SOURCE.read_text('utf-8')])
    name = f'fused_cross_entropy-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.so'
    folder = cache_folder()
    if folder and (folder / name).exists():
        with contextlib.suppress(OSError):  # made in another container, or broken
            return ctypes.CDLL(str(folder / name))
    with tempfile.TemporaryDirectory(prefix='mmdet_ols-') as made:
        library = Path(made, name)
        _compile(library)
        if folder:
            with contextlib.suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
                with whole_file(folder / name, 'wb') as file:
                    file.write(library.read_bytes())
                library = folder / name
        return ctypes.CDLL(str(library))


def _compile(library: Path) -> None:
    """Make the library with the compiler that `CXX` names, or the first one that there is."""
    if os.environ.get('CXX'):
        compiler = shlex.split(os.environ['CXX'])
    else:
        compiler = [name for name in COMPILERS if shutil.which(name)][:1]
    if not compiler:
        raise CannotCompileError(
            f'No C++ compiler was found ({", ".join(COMPILERS)}): install one (Debian: apt install '
            'g++), or name yours in the environment variable CXX.'
        )
    command = [*compiler, *FLAGS, str(SOURCE), '-o', str(library)]
    done = subprocess.run(command, capture_output=True, text=True, errors='replace', check=False)
    if done.returncode:
        raise CannotCompileError(
            f'`{shlex.join(command)}` failed. Another compiler can be named in the environment '
            f'variable CXX. It said:\n{done.stderr.strip()[-2000:]}'
        )


def _processor() -> str:
    """Describe what the library is compiled for: machines of several kinds may share a home."""
    names = ('flags', 'Features', 'CPU part')  # the first on x86, the others on ARM
    try:
        lines = Path('/proc/cpuinfo').read_text('utf-8').splitlines()
    except OSError:  # not Linux
        lines = [platform.platform(), platform.processor()]
    else:
        lines = sorted({line for line in lines if line.startswith(names)})
    return '\n'.join([platform.machine(), *lines])
