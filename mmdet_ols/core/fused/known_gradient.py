"""A loss whose gradient was computed along with it."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor


class KnownGradient(torch.autograd.Function):
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
        is_one = False
        if slope.is_cpu:  # a GPU would have to be waited for
            with contextlib.suppress(RuntimeError):  # several at once, of is_grads_batched=True
                is_one = slope.item() == 1
        return gradient if is_one else gradient * slope, None
