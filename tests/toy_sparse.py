"""What two processes do with sparse soft labels; importable by both."""

from __future__ import annotations

import torch.distributed as dist

from mmdet_ols import OLSSparseLoss


def collect_and_merge(batches, top_m):
    """Each of `batches` is a period's halves: scores and labels before and after `reduce_sums`.

    Returns:
        For each period the state dict after `reduce_sums`, what this rank knows at the period's
        end, the state dict after the roll-over, and what the roll-over reports.
    """
    criterion = OLSSparseLoss(batches[0][0][0].shape[1], top_m=top_m)

    state = criterion.state

    def clones(tensors):
        return {name: tensor.clone() for name, tensor in tensors.items()}

    periods = []
    for first, second in batches:
        criterion(first[0].requires_grad_(), first[1])
        criterion.reduce_sums()
        reduced = clones(state.state_dict())
        criterion(second[0].requires_grad_(), second[1])
        collected = clones(state.so_far())
        report = criterion.update_soft_labels()
        periods.append((reduced, collected, clones(state.state_dict()), report._asdict()))
    assert dist.get_world_size() == 2
    return periods
