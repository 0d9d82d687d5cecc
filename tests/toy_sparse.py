"""What two processes do with sparse soft labels; importable by both."""

from __future__ import annotations

import torch.distributed as dist

from mmdet_ols import OLSSparseLoss


def collect_and_merge(batches, top_m):
    """Each of `batches` is a period's halves: scores and labels before and after `reduce_sums`.

    Returns:
        For each period the state dicts after `reduce_sums`, at the period's end and after the
        roll-over, and what the roll-over reports.
    """
    criterion = OLSSparseLoss(batches[0][0][0].shape[1], top_m=top_m)

    def state():
        return {name: value.clone() for name, value in criterion.state_dict().items()}

    periods = []
    for first, second in batches:
        criterion(first[0].requires_grad_(), first[1])
        criterion.reduce_sums()
        reduced = state()
        criterion(second[0].requires_grad_(), second[1])
        collected = state()
        report = criterion.update_soft_labels()
        periods.append((reduced, collected, state(), report._asdict()))
    assert dist.get_world_size() == 2
    return periods
