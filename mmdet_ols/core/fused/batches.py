"""Which batches a compiled step is for, on whatever device."""

from __future__ import annotations

import torch
from torch import Tensor

from mmdet_ols.core.compat import is_compiling
from mmdet_ols.core.transforms import is_followed


def suits_a_compiled_step(logits: Tensor, label: Tensor, soft_labels: Tensor) -> bool:
    """Whether class indices (N,) teach (N, C) logits by a gradient that autograd need not follow.

    It is not so where no gradient is wanted, where the call is compiled or its operations are
    followed, and where a tensor is of another class than `Tensor`.
    """
    return (
        logits.requires_grad
        and torch.is_grad_enabled()
        and not is_compiling()
        and not is_followed()
        and type(logits) is type(label) is type(soft_labels) is Tensor
        and soft_labels.dtype == torch.float32  # FSDP may have changed it
        and soft_labels.is_contiguous()
        and label.dim() == 1
        and len(label) > 0
    )
