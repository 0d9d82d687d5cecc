"""Soft labels in a model whose weights are divided over the processes.

FSDP is made for GPUs, but torch runs it on CPUs with gloo too; so the real thing is tested here.
"""

from __future__ import annotations

import pytest
import torch
from mmengine.runner import FlexibleRunner
from torch.testing import assert_close
from torch_releases import IS_OLDEST
from toy_runner import NUM_BATCHES, exactly, make_batches, saved_state, train, train_by_hand

from mmdet_ols import OLSLoss
from mmdet_ols.core import rolling_state

# On a CPU nothing may be offloaded to the CPU: torch would free the weights that it is saving.
WHOLE = dict(
    state_dict_type='FULL_STATE_DICT',
    state_dict_config=dict(type='FullStateDictConfig', rank0_only=True, offload_to_cpu=False),
    optim_state_dict_config=dict(
        type='FullOptimStateDictConfig', rank0_only=True, offload_to_cpu=False
    ),
)


FSDP = dict(
    type='FSDPStrategy',
    model_wrapper=dict(type='MMFullyShardedDataParallel', device_id=torch.device('cpu')),
    state_dict_cfg=WHOLE,
)


def equal_parts():
    """Batches of even length, and the halves of each for two ranks: FSDP averages gradients."""
    batches = [
        {key: value[: len(value) // 2 * 2] for key, value in batch.items()}
        for batch in make_batches()
    ]
    parts = [
        [{key: value[rank::2] for key, value in batch.items()} for batch in batches]
        for rank in range(2)
    ]
    return batches, parts


@pytest.mark.dist
@pytest.mark.skipif(IS_OLDEST, reason='FSDP of torch 2.1 needs a GPU')
@pytest.mark.filterwarnings('ignore')  # what MMEngine calls of torch is deprecated there
def test_two_ranks_learn_what_one_does(tmp_path, two_ranks):
    """With real steps: the soft labels of the second epoch come from the weights of the first."""
    batches, parts = equal_parts()
    arguments = dict(
        parts=parts,
        epochs=2,
        save=dict(interval=1),
        runner_class=FlexibleRunner,
        wrapper=dict(broadcast_buffers=False),
        strategy=FSDP,
    )
    results = two_ranks(train, work_dir=tmp_path / 'a', **arguments)
    _, rolled = train_by_hand(2 * batches, NUM_BATCHES)
    for epoch in (1, 2):
        expected = rolled[epoch * NUM_BATCHES]
        for result in results:
            assert_close(result['epochs'][epoch]['head'], expected)
        assert_close(saved_state(tmp_path / 'a' / f'epoch_{epoch}.pth'), expected)
    assert not torch.equal(*(rolled[epoch * NUM_BATCHES]['soft_labels'] for epoch in (1, 2)))

    # MMEngine 0.10 cannot resume from it with torch 2.1 or later (it passes the arguments of
    # `optim_state_dict_to_load` in the old order), but start from it.
    checkpoint = tmp_path / 'a' / 'epoch_1.pth'
    started = two_ranks(train, work_dir=tmp_path / 'b', load_from=checkpoint, lr=0.0, **arguments)
    for result in started:
        exactly(
            result['iterations'][1]['head']['soft_labels'], saved_state(checkpoint)['soft_labels']
        )


def test_private_sums_follow_buffers_that_are_moved_one_by_one(monkeypatch):
    """As FSDP moves them to its GPU, for which 'meta' stands in."""
    monkeypatch.setattr(rolling_state, 'world_size', lambda group=None: 2)
    loss = OLSLoss(num_classes=3)
    loss(torch.zeros(2, 3, requires_grad=True), torch.zeros(2, dtype=torch.int64))
    assert loss.state.collecting()['sample_count'].tolist() == [2, 0, 0]
    for name, buffer in loss.state.named_buffers():
        loss.state._buffers[name] = buffer.to('meta')
    label = torch.zeros(2, dtype=torch.int64, device='meta')
    loss(torch.zeros(2, 3, device='meta', requires_grad=True), label)
    assert {sums.device.type for sums in loss.state.collecting().values()} == {'meta'}
