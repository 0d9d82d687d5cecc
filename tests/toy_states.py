"""What two processes do with losses that keep a state; importable by both."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from mmengine.dist import all_reduce_params
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch_releases import IS_OLDEST, WHOLE_GRAPHS

from mmdet_ols import OLSLoss, OLSSingleLoss, OLSSparseLoss

C = 6


def make(kind):
    torch.manual_seed(dist.get_rank() if dist.is_initialized() else 0)
    if kind == 'sparse':
        return OLSSparseLoss(C, top_m=2)
    if kind == 'single':
        return OLSSingleLoss(C, bank_size=40)
    return OLSLoss(C, implementation=kind)


def clones(tensors):
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def ask_and_merge(batches, kind):
    """Ask for state dicts at all times, on one rank more often than on the other.

    Returns:
        The state dicts after each batch, after merging twice, and after the roll-over.
    """
    criterion = make(kind)
    states = []
    for scores, label in batches:
        criterion(scores.requires_grad_(), label)
        for _ in range(1 + 2 * dist.get_rank()):
            states.append(clones(criterion.state_dict()))
        states = states[: len(states) - 2 * dist.get_rank()]
    for _ in range(2):
        criterion.reduce_sums()
        states.append(clones(criterion.state_dict()))
    criterion.update_soft_labels()
    return [*states, clones(criterion.state_dict())]


def average_between(batches, kind):
    """As a hook that averages all buffers of all ranks after each batch and each merge."""
    criterion = make(kind)
    for index, (scores, label) in enumerate(batches):
        criterion(scores.requires_grad_(), label)
        all_reduce_params(criterion.buffers(), op='mean')
        if index == 1:
            criterion.reduce_sums()
            all_reduce_params(criterion.buffers(), op='mean')
    criterion.update_soft_labels()
    return clones(criterion.state_dict())


class Model(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.loss = make(kind)

    def forward(self, scores, label):
        return self.loss(self.scale * scores, label)


def broadcast_between(batches, kind):
    """DDP sends rank 0's buffers to all before each forward pass."""
    model = DistributedDataParallel(Model(kind), broadcast_buffers=True)
    for scores, label in batches:
        model(scores, label).backward()
    model.module.loss.update_soft_labels()
    return clones(model.module.loss.state_dict())


def compiled(batches, kind):
    """The whole step as one graph, on each rank."""
    torch._dynamo.reset()
    criterion = make(kind)
    call = torch.compile(criterion, fullgraph=WHOLE_GRAPHS, backend='aot_eager')
    for scores, label in batches:
        call(scores.requires_grad_(), label).backward()
    before = clones(criterion.state_dict())
    criterion.update_soft_labels()
    return before, clones(criterion.state_dict())


def save_and_load(batches, kind, folder):
    """Through `torch.distributed.checkpoint`, in the middle of a period.

    Returns:
        What was to be saved, and what a new model holds after loading it.
    """
    model = Model(kind)
    for index, (scores, label) in enumerate(batches):
        model(scores, label)
        if index == 0:
            model.loss.reduce_sums()
    saved = clones(model.state_dict())
    if IS_OLDEST:
        dcp.save_state_dict(model.state_dict(), dcp.FileSystemWriter(folder))
    else:
        dcp.save(model.state_dict(), checkpoint_id=folder)
    other = Model(kind)
    state = other.state_dict()
    if IS_OLDEST:
        dcp.load_state_dict(state, dcp.FileSystemReader(folder))
    else:
        dcp.load(state, checkpoint_id=folder)
    other.load_state_dict(state)
    return saved, clones(other.state_dict())
