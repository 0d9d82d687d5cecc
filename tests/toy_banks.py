"""What two processes do with a prediction bank; importable by both."""

from __future__ import annotations

import torch.distributed as dist

from mmdet_ols import OLSSingleLoss


def collect_and_merge(batches, bank_size):
    """Each of `batches` is a period's halves: scores and labels before and after `reduce_sums`.

    Returns:
        For each period what this rank had collected by itself since the ranks last shared it,
        after each half, what it held after `reduce_sums`,
        and what is in use after the roll-over.
    """
    criterion = OLSSingleLoss(batches[0][0][0].shape[1], bank_size=bank_size)
    state = criterion.state
    periods = []
    for period in batches:
        collected = []
        for half, (scores, label) in enumerate(period):
            criterion(scores.requires_grad_(), label)
            own = state.collecting()
            collected.append((own['reservoir'].clone(), own['reservoir_key'].clone()))
            if half == 0:
                criterion.reduce_sums()
                reduced = state.reservoir.clone(), state.reservoir_key.clone()
        criterion.update_soft_labels()
        in_use = {name: getattr(state, name).clone() for name in state.in_use}
        periods.append((collected, reduced, in_use))
    assert dist.get_world_size() == 2
    return periods
