"""The training step of Online Label Smoothing on a CPU as one compiled function.

`fused_cross_entropy.cpp` says what it does and how. The machine's own C++ compiler makes a library
of it when it is first needed, in about a second, which is kept in `~/.cache/mmdet_ols` (or
`$XDG_CACHE_HOME/mmdet_ols`) for all later processes.
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
from torch import Tensor

from mmdet_ols.core.soft_labels import SUMS, SoftLabels, SoftLabelState
from mmdet_ols.core.teaching import teaching_allowed

SOURCE = Path(__file__).with_name('fused_cross_entropy.cpp')
FLAGS = (
    *('-O3', '-march=native', '-fno-math-errno', '-fno-trapping-math'),
    *('-std=c++17', '-shared', '-fPIC', '-pthread'),
)
COMPILERS = ('c++', 'g++', 'clang++')
#: The methods of a state that the fused form stands for.
STATE_METHODS = ('accumulate', '_add_rows', 'collecting')
#: Starting a thread takes as long as some hundred thousand scores.
SCORES_PER_THREAD = 2**20


class CannotCompileError(RuntimeError):
    """This machine cannot make the compiled form; the message says why, and what to do."""


def has_fused_step(kind: type) -> bool:
    """Whether the fused form does what a state of this class does in a step."""
    own = (getattr(kind, name, None) is getattr(SoftLabels, name) for name in STATE_METHODS)
    return issubclass(kind, SoftLabels) and all(own)


def can_fuse(logits: Tensor, label: Tensor, weight: Tensor | None, state: SoftLabelState) -> bool:
    """Whether a batch is one for `fused_cross_entropy`: (N, C) logits and class indices (N,).

    It is not where no gradient is wanted (or one of the weight), where somebody traces, away from
    the CPU, and in another type than float32 and bfloat16.
    """
    soft_labels = state.soft_labels
    return (
        logits.requires_grad
        and torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and type(logits) is type(label) is type(soft_labels) is Tensor
        and (logits.is_cpu and label.is_cpu and soft_labels.is_cpu)
        and (weight is None or (weight.is_cpu and not weight.requires_grad))
        and logits.dtype in (torch.float32, torch.bfloat16)
        and soft_labels.dtype == torch.float32  # FSDP may have changed it
        and soft_labels.is_contiguous()
        and label.dim() == 1
        and len(label) > 0
    )


def fused_cross_entropy(
    logits: Tensor,
    label: Tensor,
    weight: Tensor | None,
    factor: float,
    alpha: float,
    state: SoftLabelState,
) -> Tensor | None:
    """Return the loss of a batch and add its correct samples to the state's sums.

    Equals `mix_targets` and `cross_entropy`, weighted and summed, and `state.accumulate` after
    them, but for the rounding of float32. Cannot be differentiated twice; and whoever goes back
    twice (retain_graph=True) must not change the gradient of the first time in place.

    Args:
        logits: (N, C) float32 or bfloat16 on the CPU; computed in float32.
        label: (N,) int64.
        weight: (N,) float32 or None; samples of weight 0 teach nothing.
        factor: Of the sum of the losses, such as 1 / N.
        alpha: Share of the hard label, in [0, 1].
        state: Where the soft labels are, and where the sums go unless `no_teaching` forbids it; in
            training mode, on the CPU.

    Returns:
        Scalar, float32. None, and nothing is changed, if a label is outside [0, C): wrong, or
        ignored.

    Raises:
        CannotCompileError: There is no library and none could be made.
    """
    scores, label = logits.detach().contiguous(), label.contiguous()
    weight = None if weight is None else weight.contiguous()
    loss = torch.empty((), dtype=torch.float32, device='cpu')
    gradient = torch.empty_like(scores)
    sums: list[int | None] = [None] * len(SUMS)
    if teaching_allowed():
        collecting = state.collecting()
        sums = [collecting[name].data_ptr() for name in SUMS]
    if not compiled_library()[scores.dtype](
        *scores.shape,
        state.num_classes,
        scores.data_ptr(),
        label.data_ptr(),
        None if weight is None else weight.data_ptr(),
        factor,
        alpha,
        state.soft_labels.data_ptr(),
        loss.data_ptr(),
        gradient.data_ptr(),
        *sums,
        max(1, min(torch.get_num_threads(), scores.numel() // SCORES_PER_THREAD)),
    ):
        return None
    return _KnownGradient.apply(logits, (loss, gradient))


class _KnownGradient(torch.autograd.Function):
    """A loss whose gradient is known: going back multiplies it, if there is something to."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, known: tuple[Tensor, Tensor]) -> Tensor:
        loss, gradient = known  # in a tuple, where autograd does not take them for its inputs
        ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                'The fused form of OLSLoss cannot be differentiated twice (create_graph=True): '
                "make the loss with implementation='plain'."
            )
        (gradient,) = ctx.saved_tensors
        if slope.item() != 1:
            gradient = gradient * slope
        return gradient, None


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
    """From the cache, or compiled and put there for others; where that cannot be, just loaded."""
    identity = '\n'.join([*FLAGS, _processor(), SOURCE.read_text('utf-8')])
    name = f'fused_cross_entropy-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.so'
    folder = _cache_folder()
    if folder and (folder / name).exists():
        with contextlib.suppress(OSError):  # made in another container, or broken
            return ctypes.CDLL(str(folder / name))
    with tempfile.TemporaryDirectory(prefix='mmdet_ols-') as made:
        library = Path(made, name)
        _compile(library)
        if folder:
            with contextlib.suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
                with tempfile.NamedTemporaryFile(dir=folder, delete=False) as unfinished:
                    unfinished.write(library.read_bytes())
                # Other processes see a whole file or none.
                library = Path(unfinished.name).replace(folder / name)
        return ctypes.CDLL(str(library))


def _compile(library: Path) -> None:
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
    """What the library is compiled for: one home folder may serve several kinds of machines."""
    names = ('flags', 'Features', 'CPU part')  # the first on x86, the others on ARM
    try:
        lines = Path('/proc/cpuinfo').read_text('utf-8').splitlines()
    except OSError:  # not Linux
        lines = [platform.platform(), platform.processor()]
    else:
        lines = sorted({line for line in lines if line.startswith(names)})
    return '\n'.join([platform.machine(), *lines])


def _cache_folder() -> Path | None:
    try:
        return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache', 'mmdet_ols')
    except RuntimeError:  # a user without a home
        return None
