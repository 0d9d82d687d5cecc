"""Mixed precision where there is no GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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
