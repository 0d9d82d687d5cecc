"""What two processes do with a `SampleState`; importable by both."""

from __future__ import annotations

import torch

from mmdet_ols.core import SampleState


def make_state(num_samples, columns):
    return SampleState(
        num_samples,
        measured=dict(suggested=()),
        recorded=dict(weight=()),
        adjusted=dict(logits=(columns,)),
    )


def run_periods(batches, num_samples, columns):
    """Each of `batches` is a period: steps of (sample_idx, weight, change).

    Returns:
        For each period the state dict in the middle, after `reduce_sums`, and at its end; and what
        `now` says in the middle before the ranks share it.
    """
    state = make_state(num_samples, columns)
    results = []
    for period in batches:
        half = len(period) // 2
        for number, (index, weight, change) in enumerate(period):
            if number == half:
                own = state.now('logits', torch.arange(num_samples))
                state.reduce_sums()
                middle = {key: value.clone() for key, value in state.state_dict().items()}
            state.record(index, weight=weight)
            state.adjust(index, logits=change)
        state.roll_over()
        end = {key: value.clone() for key, value in state.state_dict().items()}
        results.append((own, middle, end))
    return results
