"""Labels that are disturbed in two processes of one seed, as MMEngine's are."""

from __future__ import annotations

import pytest
import torch
from test_losses.harness import C
from test_losses.test_disturb_label_loss import drawn_with_seed

pytestmark = pytest.mark.dist


def test_each_process_draws_its_own(two_ranks):
    label = torch.arange(200) % C
    first, second = two_ranks(drawn_with_seed, [label, label], rate=0.5)
    changed = [drawn != label for drawn in (first, second)]
    # A share of (1 - 1/C) / 2 is changed in each, and of that in both at once its square.
    share = 0.5 * (1 - 1 / C)
    both = (changed[0] & changed[1]).double().mean().item()
    assert both == pytest.approx(share**2, abs=6 * 0.5 / 200**0.5)
    assert not torch.equal(*changed)
    again = two_ranks(drawn_with_seed, [label, label], rate=0.5)
    assert torch.equal(first, again[0]) and torch.equal(second, again[1])
