"""How far a network's predictions are from those that it is to learn from."""

from __future__ import annotations

import torch
from torch import Tensor


def softened_divergence(scores: Tensor, teacher_scores: Tensor, temperature: float) -> Tensor:
    r"""Divergence of softened predictions from a teacher's, for each sample.

    .. math:: \mathrm{KL}(\mathrm{softmax}(t / T) \,\Vert\, \mathrm{softmax}(z / T))

    Args:
        scores: Logits z (N, C) of any float dtype; computed in float32 at least.
        teacher_scores: Logits t (N, C) of what is learned from. Their gradient is taken as well:
            detach them where the teacher is not to follow.
        temperature: T.

    Returns:
        The divergences (N,), without the factor :math:`T^2`.

    Example:
        >>> scores = torch.tensor([[0.0, 0.0]])
        >>> softened_divergence(scores, torch.tensor([[4.0, 0.0]]), temperature=2.0)
        tensor([0.3278])
    """
    dtype = torch.promote_types(scores.dtype, torch.float32)
    log_prob = (scores.to(dtype) / temperature).log_softmax(-1)
    log_target = (teacher_scores.to(dtype) / temperature).log_softmax(-1)
    return (log_target.exp() * (log_target - log_prob)).sum(-1)
