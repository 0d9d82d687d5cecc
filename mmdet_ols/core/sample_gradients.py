"""Gradients of a batch's loss, and how the loss of each sample changes along a direction.

Methods that learn the weights of samples ask whether a step on a sample helps a few clean ones,
too. That is the inner product of two gradients: of the clean samples' loss, and of the sample's.
All inner products of a batch together are one directional derivative of its losses, which needs
neither the gradient of a single sample nor a graph of second order.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Callable

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import forward_ad

from mmdet_ols.core.rolling_state import world_size

#: The trained parameters of a model, or a direction in their space, by name.
Parameters = Mapping[str, Tensor]
#: Computes the loss of each sample of a batch, of shape (n,), at given parameters.
SampleLosses = Callable[[Parameters], Tensor]


def total(value: Tensor) -> Tensor:
    """The sum of a value over all processes, detached."""
    value = value.detach().clone()
    if world_size() > 1:
        dist.all_reduce(value)
    return value


def total_count(losses: Tensor) -> Tensor:
    """The number of samples in the batches of all processes, as a tensor on their device."""
    return total(torch.tensor(float(len(losses)), dtype=losses.dtype, device=losses.device))


def gradient(
    losses_of: SampleLosses, parameters: Parameters, cost: Callable[[Tensor], Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Differentiate what the batches of all processes cost together.

    Args:
        losses_of: The losses of this process's batch.
        parameters: Where the gradient is taken.
        cost: Turns the losses into this process's part of the cost, a scalar.

    Returns:
        The losses, detached, and the gradient, which is the same in all processes; zero for
        parameters that the cost does not depend on.
    """
    leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
    with torch.enable_grad():
        losses = losses_of(leaves)
        slopes = torch.autograd.grad(cost(losses), list(leaves.values()), allow_unused=True)
    filled = [
        torch.zeros_like(leaf) if slope is None else slope
        for leaf, slope in zip(leaves.values(), slopes)
    ]
    return losses.detach(), dict(zip(leaves, _added_up(filled)))


def _added_up(tensors: list[Tensor]) -> list[Tensor]:
    """The sums of tensors over all processes, by one message."""
    if world_size() < 2 or not tensors:
        return tensors
    flat = total(torch.cat([tensor.reshape(-1) for tensor in tensors]))
    parts = flat.split([tensor.numel() for tensor in tensors])
    return [part.view_as(tensor) for part, tensor in zip(parts, tensors)]


class SampleDerivatives:
    """How the loss of each sample changes when the parameters move along a direction.

    The derivative of sample i is the inner product of the direction and the gradient of its loss.
    Forward-mode differentiation gives all of them in one forward pass. Where an operation of the
    model has none (a function of one's own, for example), they come from a backward pass that is
    differentiated once more, which takes longer and holds more in memory.

    Attributes:
        forward_mode: Whether forward mode is used; False after the first time that it failed.
    """

    def __init__(self) -> None:
        self.forward_mode = True

    def __call__(
        self, losses_of: SampleLosses, parameters: Parameters, direction: Parameters
    ) -> Tensor:
        """Compute the derivatives.

        Args:
            losses_of: The losses of the batch.
            parameters: Where the derivatives are taken.
            direction: For each of the parameters, how far it moves.

        Returns:
            One derivative for each sample, of shape (n,), detached.
        """
        if self.forward_mode:
            try:
                return _by_forward_mode(losses_of, parameters, direction)
            except NotImplementedError as error:
                self.forward_mode = False
                warnings.warn(
                    'The model has an operation without forward-mode differentiation, so that '
                    f'weighing samples takes longer and needs more memory: {str(error)[:200]}',
                    stacklevel=2,
                )
        return _by_differentiating_twice(losses_of, parameters, direction)


def _by_forward_mode(
    losses_of: SampleLosses, parameters: Parameters, direction: Parameters
) -> Tensor:
    with torch.no_grad(), forward_ad.dual_level():
        moving = {
            name: forward_ad.make_dual(value.detach(), direction[name].to(value.dtype))
            for name, value in parameters.items()
        }
        losses, derivatives = forward_ad.unpack_dual(losses_of(moving))
        return torch.zeros_like(losses) if derivatives is None else derivatives.detach().clone()


def _by_differentiating_twice(
    losses_of: SampleLosses, parameters: Parameters, direction: Parameters
) -> Tensor:
    leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
    with torch.enable_grad():
        losses = losses_of(leaves)
        # The gradient of a weighted sum of losses is linear in the weights.
        weights = torch.zeros_like(losses).requires_grad_()
        slopes = torch.autograd.grad(
            losses, list(leaves.values()), weights, create_graph=True, allow_unused=True
        )
        products = [
            (slope * direction[name]).sum()
            for name, slope in zip(leaves, slopes)
            if slope is not None
        ]
        if not products:
            return torch.zeros_like(losses)
        return torch.autograd.grad(torch.stack(products).sum(), weights)[0]
