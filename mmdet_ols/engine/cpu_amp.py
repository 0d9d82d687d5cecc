"""Mixed precision where there is no GPU."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine.optim import OptimWrapper
from torch import nn

from mmdet_ols.registry import register_optim_wrapper


@register_optim_wrapper
class CPUAmpOptimWrapper(OptimWrapper):
    """Train on a CPU with bfloat16 autocast, which MMEngine's AmpOptimWrapper leaves to GPUs.

    bfloat16 has float32's range, so no loss scaling is needed. It pays on processors with bfloat16
    instructions (AVX512_BF16, AMX); others emulate it and get slower.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the forward pass under autocast; the arguments are MMEngine's."""
        with super().optim_context(model), torch.autocast('cpu', dtype=torch.bfloat16):
            yield


def has_bfloat16_instructions(cpuinfo: Path = Path('/proc/cpuinfo')) -> bool:
    """Whether this machine's processor computes in bfloat16 itself, and torch makes use of that.

    torch's own test is also true where AVX512 emulates it, which takes longer than float32.

    Args:
        cpuinfo: What Linux says of the processor; on other systems there is no such file.
    """
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported() or not cpuinfo.exists():
        return False
    flags = re.search(r'^(?:flags|Features)\s*:(.*)$', cpuinfo.read_text(), re.MULTILINE)
    return bool(flags and {'avx512_bf16', 'amx_bf16', 'bf16'} & set(flags[1].split()))
