"""What two processes know about the samples is what one would know."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close
from toy_runner import exactly
from toy_sample_states import run_periods

pytestmark = pytest.mark.dist
N, C = 13, 3


def period(seed):
    """Four steps, which together give each sample once, and sample 0 twice: once on each rank."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.cat([torch.randperm(N - 1, generator=generator) + 1, torch.zeros(2).long()])
    return [
        (
            index,
            torch.rand(len(index), generator=generator),
            torch.randn(len(index), C, generator=generator),
        )
        for index in (*order[:9].split(3), order[9:13], order[13:])
    ]


def test_two_processes_are_one(two_ranks):
    whole = [period(1), period(2)]
    parts = [[steps[0::2] for steps in whole], [steps[1::2] for steps in whole]]
    first, second = two_ranks(run_periods, parts, num_samples=N, columns=C)
    alone = run_periods(whole, num_samples=N, columns=C)
    for (own, middle, end), (other_own, other_middle, other_end), (*_, expected) in zip(
        first, second, alone
    ):
        exactly(middle, other_middle)
        exactly(end, other_end)
        assert_close(end, expected)
        assert not torch.equal(own, other_own)
        assert middle['logits_change'].any() and middle['count'].any()
