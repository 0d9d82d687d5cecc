"""What two processes do together for methods that know their samples is what one does."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close
from toy_images import CLASSES
from toy_runner import exactly
from toy_sample_methods import COUNT, parts_of_methods

pytestmark = pytest.mark.dist


def test_two_processes_are_one(two_ranks):
    """23 images: one of the two has to repeat one, which must not count."""
    whole = [
        (2 * torch.randn(10, CLASSES), index * 3 % CLASSES, index)
        for index in torch.randperm(COUNT)[:20].split(10)  # in an epoch, each sample occurs once
    ]
    parts = [
        [tuple(tensor[rank * 5 : rank * 5 + 5] for tensor in step) for step in whole]
        for rank in range(2)
    ]
    first, second = two_ranks(parts_of_methods, parts)
    alone = parts_of_methods(whole)
    exactly(first[:3], second[:3])
    measured, state, logits, loss, gradient, ignoring = alone
    assert_close(first[0], measured)
    assert_close(first[1], state, rtol=1e-4, atol=1e-5)
    assert_close(first[2], logits, rtol=1e-4, atol=1e-4)
    assert logits.any() and state['wrong'].unique().numel() > 1
    # Each rank's loss holds the cross entropy of its own half, and the same prior.
    assert_close((first[3] + second[3]) / 2, loss)
    # A rank whose labels are all ignored takes nothing from the others.
    assert first[5] == 0
    assert_close(second[5] / 2, ignoring)
    # DDP averages the gradients of the ranks, each of which has half of the samples.
    assert_close(torch.cat([first[4], second[4]]) / 2, gradient)
