"""The banks of two processes become that of the whole."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close
from toy_banks import collect_and_merge
from toy_runner import exactly

pytestmark = pytest.mark.dist
C = 4


def period(sizes, classes):
    """Two batches; about half of the samples are right."""
    halves = []
    for n in sizes:
        label = torch.randint(classes, (n,))
        halves.append((torch.randn(n, C) + 1.5 * torch.eye(C)[label], label))
    return halves


def largest(parts, y, bank_size):
    """{key: row} of a class's largest keys among reservoirs and their keys."""
    actual = {}
    for rows, keys in parts:
        actual.update({int(k): row for row, k in zip(rows[y], keys[y]) if k > 0})
    return {key: actual[key] for key in sorted(actual, reverse=True)[:bank_size]}


@pytest.mark.parametrize('bank_size', [3, 50])
def test_merging(two_ranks, bank_size):
    # Rank 1 has fewer samples, none of class 2, and in the second period none at first.
    parts = [
        [period((40, 30), 3), period((20, 20), 3)],
        [period((15, 9), 2), period((0, 20), 2)],
    ]
    ranks = two_ranks(collect_and_merge, parts, bank_size=bank_size)
    for (first, reduced, in_use), (other, other_reduced, other_in_use) in zip(*ranks):
        exactly(in_use, other_in_use)
        exactly(reduced, other_reduced)
        assert (other[0][1] > 0).any() or len(parts[1][1][0][1]) == 0
        for y in range(C):
            # In the middle both hold what both had collected ...
            expected = largest([first[0], other[0]], y, bank_size)
            exactly(largest([reduced], y, bank_size), expected)
            # ... and at the end all of it is in use, the largest key first.
            expected = largest([*first, *other], y, bank_size)
            count = len(expected)
            assert in_use['bank_count'][y] == count
            if count:
                exactly(in_use['bank'][y, :count], torch.stack(list(expected.values())))
            assert not in_use['bank'][y, count:].any()
        assert in_use['bank_count'][:3].all() and not in_use['bank_count'][3]
        if bank_size == 50:  # all fit: their mean is the soft label
            mean = in_use['bank'].sum(1) / in_use['bank_count'].clamp(min=1)[:, None]
            assert_close(mean[:3], in_use['soft_labels'][:3])
