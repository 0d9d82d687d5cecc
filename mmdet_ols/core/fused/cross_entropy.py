"""The training step of Online Label Smoothing on a CPU as one compiled function.

`cross_entropy.cpp` says what it does and how.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmdet_ols.core.fused.batches import suits_a_compiled_step
from mmdet_ols.core.fused.known_gradient import KnownGradient
from mmdet_ols.core.fused.library import compiled_library
from mmdet_ols.core.soft_labels import SUMS, SoftLabels, SoftLabelState
from mmdet_ols.core.teaching import teaching_allowed

#: The methods of a state that the fused form stands for.
STATE_METHODS = ('accumulate', '_add_rows', 'collecting')
#: Starting a thread takes as long as some hundred thousand scores.
SCORES_PER_THREAD = 2**20


def has_fused_step(kind: type) -> bool:
    """Whether the fused form does what a state of this class does in a step."""
    own = (getattr(kind, name, None) is getattr(SoftLabels, name) for name in STATE_METHODS)
    return issubclass(kind, SoftLabels) and all(own)


def can_fuse(logits: Tensor, label: Tensor, weight: Tensor | None, state: SoftLabelState) -> bool:
    """Whether a batch is one for `fused_cross_entropy`: (N, C) logits and class indices (N,).

    It is one on the CPU that suits a compiled step, in float32 or bfloat16, whose weight wants no
    gradient.
    """
    soft_labels: Any = state._buffers['soft_labels']  # asking the module takes ten times as long
    return (
        suits_a_compiled_step(logits, label, soft_labels)
        and (logits.is_cpu and label.is_cpu and soft_labels.is_cpu)
        and (weight is None or (weight.is_cpu and not weight.requires_grad))
        and logits.dtype in (torch.float32, torch.bfloat16)
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
    them, but for the rounding of float32. Cannot be differentiated twice. After a first backward
    pass with retain_graph=True the gradient of that pass must not be changed in place.

    Args:
        logits: (N, C) float32 or bfloat16 on the CPU; computed in float32.
        label: (N,) int64.
        weight: (N,) float32 or None; samples of weight 0 teach nothing.
        factor: Of the sum of the losses, such as 1 / N.
        alpha: Share of the hard label, in [0, 1].
        state: Where the soft labels are, and where the sums go if it learns now; on the CPU.

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
    soft_labels: Any = state._buffers['soft_labels']
    sums: list[int | None] = [None] * len(SUMS)
    if state.training and teaching_allowed():  # `learns`, in a quarter of the time
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
        soft_labels.data_ptr(),
        loss.data_ptr(),
        gradient.data_ptr(),
        *sums,
        max(1, min(torch.get_num_threads(), scores.numel() // SCORES_PER_THREAD)),
    ):
        return None
    return KnownGradient.apply(logits, (loss, gradient))
