"""What newer releases of torch offer under another name, for all releases since torch 2.1.

Everything else in the package uses only names that torch 2.1 has, or asks here.
"""

from __future__ import annotations

from typing import Callable

import torch

#: Whether `torch.compile` traces the code: a function of torch itself, which its tracer knows.
#: `torch.compiler` has it since torch 2.3.
is_compiling: Callable[[], bool] = (
    torch.compiler.is_compiling
    if hasattr(torch.compiler, 'is_compiling')
    else torch._utils.is_compiling
)
