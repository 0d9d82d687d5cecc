"""Batches for dense soft labels, and a state in the middle of a period."""

from __future__ import annotations

import torch

from mmdet_ols.core import SUMS, SoftLabels

C = 3
STATE = ('soft_labels', *SUMS)


def tensors(state):
    return {name: getattr(state, name).clone() for name in STATE}


def teach(state, logits, label, teaches=None, use_sigmoid=False):
    prob = logits.sigmoid() if use_sigmoid else logits.softmax(-1)
    teaches = torch.ones(len(label), dtype=bool) if teaches is None else teaches
    state.accumulate(logits, prob, label, teaches)


def random_batch(n=40, columns=C, classes=C):
    return torch.randn(n, columns), torch.randint(classes, (n,))


def two_and_one_correct():
    """Class 0: two correct samples; class 1: one of two; class 2: none of one."""
    state = SoftLabels(C)
    prob = torch.tensor([[0.8, 0.1, 0.1], [0.6, 0.4, 0], [0.2, 0.5, 0.3], [0.9, 0.1, 0], [1, 0, 0]])
    label = torch.tensor([0, 0, 1, 1, 2])
    # Scores in the order of the probabilities are all that `accumulate` looks at.
    state.accumulate(prob, prob, label, torch.ones(5, dtype=bool))
    return state
