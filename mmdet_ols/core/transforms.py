"""The loss under the transforms of `torch.func` (`grad`, `vmap`, `jvp`), and under recording."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Callable

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack as active_modes

from mmdet_ols.core.compat import is_compiling
from mmdet_ols.core.samples import Samples


def is_transformed() -> bool:
    """Whether a transform of `torch.func` is at work, under which no tensor shows its values."""
    return not is_compiling() and torch._C._functorch.peek_interpreter_stack() is not None


def is_followed() -> bool:
    """Whether something follows each operation, and would miss what is no operation of PyTorch.

    As transforms of `torch.func` do, `torch.jit.trace`, `make_fx`, counters of operations, and
    differentiation forwards.
    """
    return (
        torch._C._functorch.peek_interpreter_stack() is not None
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._get_tracing_state() is not None
        or forward_ad._current_level >= 0
    )


def hides_values() -> bool:
    """Whether what is done must not depend on the values of tensors, as it is done for others too.

    So it is under the transforms of `torch.func`, and in what `torch.jit.trace` and `make_fx` make.
    """
    if is_compiling() or is_transformed() or torch._C._get_tracing_state() is not None:
        return True
    if torch._C._len_torch_dispatch_stack() == 0:
        return False
    return any(type(mode).__name__ == 'ProxyTorchDispatchMode' for mode in active_modes())


def learn_under_transforms(
    learn: Callable[[Samples], None], samples: Samples, state: Iterable[Tensor]
) -> None:
    """Learn from a batch as one would without the transforms: each sample once.

    A transform refuses changes of tensors that it does not know of, as those of a state are. So
    this steps outside of all transforms first. Only a state that a transform does know of, such as
    the stacked states of an ensemble, is changed where it is.

    Args:
        learn: Changes the state.
        samples: Under `vmap`, the samples of all calls.
        state: The tensors that `learn` may change.
    """
    if any(map(torch._C._functorch.is_functorch_wrapped_tensor, state)):
        learn(samples)
    else:
        _OutsideTransforms.apply(learn, *samples[:4])


class _OutsideTransforms(torch.autograd.Function):
    """Calls a function with the values of its tensors: `forward` runs below all transforms."""

    @staticmethod
    def forward(
        learn: Callable[[Samples], None],
        logits: Tensor,
        label: Tensor,
        valid: Tensor,
        weight: Tensor | None,
    ) -> Tensor:
        learn(Samples(logits, label, valid, weight))
        return logits.new_zeros(())  # something has to be returned

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], learn: Callable[[Samples], None], *batch: Any
    ) -> tuple[Tensor, None]:
        """Put the samples of all calls behind one another."""

        def flat(tensor: Tensor | None, dim: int | None) -> Tensor | None:
            if tensor is None:
                return None
            if dim is None:
                tensor = tensor.expand(info.batch_size, *tensor.shape)
            else:
                tensor = tensor.movedim(dim, 0)
            return tensor.flatten(0, 1)

        tensors = [flat(tensor, dim) for tensor, dim in zip(batch, in_dims[1:])]
        return _OutsideTransforms.apply(learn, *tensors), None
