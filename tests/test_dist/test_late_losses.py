"""A loss that appears during the run, in two processes."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close
from toy_runner import NUM_BATCHES, OLS, STATE, make_batches, train_by_hand
from toy_switching import PLAIN, train_switching

pytestmark = pytest.mark.dist


def test_late_loss_counts_what_both_see_and_is_resumed(tmp_path, two_ranks):
    halves = [
        [{key: value[rank::2] for key, value in batch.items()} for batch in make_batches()]
        for rank in range(2)
    ]
    arguments = dict(
        parts=halves,
        first=PLAIN,
        switches={2: OLS},
        epochs=3,
        lr=0.0,
        ols=dict(interval=3),
        save=dict(interval=1),
        wrapper=dict(broadcast_buffers=True),
    )
    # The period's last two epochs, in which the loss is there.
    counted, rolled = train_by_hand(2 * make_batches(), 2 * NUM_BATCHES, lr=0.0)
    whole = two_ranks(train_switching, work_dir=tmp_path / 'whole', **arguments)
    checkpoint = tmp_path / 'whole' / 'epoch_2.pth'
    state = torch.load(checkpoint, weights_only=False)['state_dict']
    saved = {key: state[f'head.loss_module.state.{key}'] for key in STATE}
    assert_close(saved, counted[NUM_BATCHES])

    arguments['resume_from'] = checkpoint
    resumed = two_ranks(train_switching, work_dir=tmp_path / 'resumed', **arguments)
    for result in (*whole, *resumed):
        assert_close(result['epochs'][3]['loss_module'], rolled[2 * NUM_BATCHES])
