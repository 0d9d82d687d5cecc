"""The training step of Online Label Smoothing on a GPU as one kernel; `kernel.py` has it.

Operation by operation a step starts some sixty kernels, which for most batches takes longer than
what they compute.
"""

from __future__ import annotations

import functools
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.torch_version import TorchVersion

from mmdet_ols.core.fused.batches import suits_a_compiled_step
from mmdet_ols.core.fused.known_gradient import KnownGradient
from mmdet_ols.core.fused.library import CannotCompileError
from mmdet_ols.core.soft_labels import SUMS, SoftLabelState
from mmdet_ols.core.teaching import teaching_allowed

#: Scores that a program of the kernel looks at together, at most.
MOST_IN_A_BLOCK = 4096
TYPES = (torch.float32, torch.bfloat16, torch.float16)


@functools.cache
def has_triton() -> bool:
    """Whether there is a Triton that is new enough: 3.3 is the oldest the kernel was tried with."""
    if find_spec('triton') is None:
        return False
    import triton

    return TorchVersion(triton.__version__) >= '3.3'


def can_fuse_on_gpu(
    logits: Tensor,
    label: Tensor,
    weight: Tensor | None,
    avg_factor: float | Tensor | None,
    state: SoftLabelState,
) -> bool:
    """Whether a batch is one for `fused_cross_entropy_on_gpu`: (N, C) logits, class indices (N,).

    It is one on a GPU that suits a compiled step, whose weight and divisor want no gradient. It is
    not without Triton, and where PyTorch has been told to be deterministic: what a batch teaches is
    added in any order.
    """
    soft_labels: Any = state._buffers['soft_labels']
    others = [tensor for tensor in (weight, avg_factor) if isinstance(tensor, Tensor)]
    return (
        suits_a_compiled_step(logits, label, soft_labels)
        and logits.is_cuda
        and all(tensor.device == logits.device for tensor in (label, soft_labels, *others))
        and not any(type(tensor) is not Tensor or tensor.requires_grad for tensor in others)
        and logits.dtype in TYPES
        and not torch.are_deterministic_algorithms_enabled()
        and has_triton()
    )


def fused_cross_entropy_on_gpu(
    logits: Tensor,
    label: Tensor,
    weight: Tensor | None,
    factor: float,
    divisor: Tensor | None,
    alpha: float,
    ignore_index: int,
    state: SoftLabelState,
) -> Tensor:
    """Return the loss of a batch and add its correct samples to the state's sums.

    Equals `fused_cross_entropy`, but for the order in which samples are added up. A label that is
    neither a class nor `ignore_index` ends in an error when the GPU is next waited for.

    Args:
        logits: (N, C) float32, bfloat16 or float16; computed in float32.
        label: (N,) int64.
        weight: (N,) float32 or None; samples of weight 0 teach nothing.
        factor: Of the sum of the losses, such as 1 / N.
        divisor: Scalar that divides the factor, or None.
        alpha: Share of the hard label, in [0, 1].
        ignore_index: Label that costs nothing and teaches nothing.
        state: Where the soft labels are, and where the sums go if it learns now.

    Returns:
        Scalar, float32.

    Raises:
        CannotCompileError: Triton cannot make the kernel.
    """
    scores, label = logits.detach().contiguous(), label.contiguous()
    count, columns = scores.shape
    losses = scores.new_empty(count, dtype=torch.float32)
    # Loss scaling multiplies it in the backward pass: what float16 rounds to 0 before is lost.
    exact = torch.float32 if scores.dtype == torch.float16 else scores.dtype
    gradient = torch.empty_like(scores, dtype=exact)
    is_known = scores.new_ones((), dtype=torch.int8)
    learns = state.training and teaching_allowed()
    sums = [losses] * len(SUMS)  # which are not looked at
    if learns:
        collecting = state.collecting()
        sums = [collecting[name] for name in SUMS]
        totals = sums
        if count >= columns:  # as in `SoftLabelState.accumulate`: round once a batch
            sums = [torch.zeros_like(total) for total in totals]
    block = block_of(columns)
    try:
        with torch.cuda.device_of(logits):  # Triton would take the current one
            _kernel()[(count,)](
                *(scores, label, losses if weight is None else weight.contiguous()),
                *(losses if divisor is None else divisor.float(), state._buffers['soft_labels']),
                *(losses, gradient, is_known, *sums),
                *(columns, state.num_classes, ignore_index, factor, alpha),
                HAS_WEIGHT=weight is not None,
                HAS_DIVISOR=divisor is not None,
                LEARNS=learns,
                BLOCK=block,
                num_warps=max(1, min(8, block // 256)),
            )
    except Exception as error:  # of Triton, of its compiler, or of a driver
        raise CannotCompileError(
            f'Triton cannot make the kernel of the fused form: {type(error).__name__}: {error}'
        ) from error
    if learns and sums is not totals:
        torch._foreach_add_(totals, sums)
    message = 'A label must be a class of the loss or the ignore_index.'
    torch._assert_async(is_known.view(torch.bool), message)  # seen at the next synchronisation
    return KnownGradient.apply(logits, (losses.sum(), gradient))


def block_of(columns: int) -> int:
    """How many scores a program of the kernel looks at together: a power of 2."""
    return min(MOST_IN_A_BLOCK, 1 << (columns - 1).bit_length())


@functools.cache
def _kernel() -> Any:
    from mmdet_ols.core.fused.kernel import training_step

    return training_step
