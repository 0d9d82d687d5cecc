"""Models that hold a loss: exported, replicated, copied, saved."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.testing import assert_close

import mmdet_ols
from mmdet_ols import OLSLoss, OLSSingleLoss, OLSSparseLoss, TfKDRegLoss

C = 4
LEARNING = {
    'dense': lambda: OLSLoss(C, class_weight=[1.0, 2, 3, 4]),
    'sparse': lambda: OLSSparseLoss(C, top_m=2),
    'single': lambda: OLSSingleLoss(C, bank_size=3),
}
EVERY_STATE = pytest.mark.parametrize('make', LEARNING.values(), ids=LEARNING)


class Model(nn.Module):
    """Holds a loss that inference never calls."""

    def __init__(self, criterion):
        super().__init__()
        self.head, self.criterion = nn.Linear(C, C), criterion

    def forward(self, x):
        return self.head(x)


def trained(criterion):
    """A model after a roll-over and some steps more."""
    model = Model(criterion)
    for _ in range(2):
        model.criterion.update_soft_labels()
        label = torch.arange(C).repeat(3)
        model.criterion(5 * torch.eye(C)[label] + torch.randn(12, C), label)
    return model


@pytest.mark.parametrize(
    'make', [*LEARNING.values(), lambda: TfKDRegLoss(C)], ids=[*LEARNING, 'teacher']
)
@pytest.mark.parametrize('way', ['script', 'trace', 'export'])
def test_a_model_that_holds_a_loss_can_be_exported(make, way):
    model, x = Model(make()).eval(), torch.randn(2, C)
    if way == 'export':
        exported = torch.export.export(model, (x,)).module()
    else:
        exported = torch.jit.trace(model, x) if way == 'trace' else torch.jit.script(model)
        file = io.BytesIO()
        torch.jit.save(exported, file)
        file.seek(0)
        exported = torch.jit.load(file)
    assert_close(exported(x), model(x), rtol=0, atol=0)


def test_a_loss_of_the_users_own_can_be_held_too():
    class Own(OLSLoss):
        @property
        def sharpness(self):
            return self.soft_labels.amax(1).mean()

    x = torch.randn(2, C)
    model = Model(Own(C)).eval()
    assert_close(torch.jit.script(model)(x), model(x))


@EVERY_STATE
def test_replicas_of_data_parallel_are_refused_before_they_teach(make):
    """Made with the method that `nn.DataParallel` makes them with."""
    criterion = make()
    replica = criterion._replicate_for_data_parallel()
    scores = torch.randn(3, C, requires_grad=True)
    with pytest.raises(RuntimeError, match='nn.DataParallel, .* DistributedDataParallel, or call'):
        replica(scores, torch.arange(3))
    assert not criterion.sample_count.any()
    criterion(scores, torch.arange(3))
    assert criterion.sample_count.sum() == 3


def test_replicas_of_data_parallel_validate():
    criterion = OLSLoss(C).eval()
    scores, label = torch.randn(3, C), torch.arange(3)
    replica = criterion._replicate_for_data_parallel()
    assert_close(replica(scores, label), criterion(scores, label))


@EVERY_STATE
@pytest.mark.parametrize(
    'copied',
    [
        copy.deepcopy,
        lambda model: pickle.loads(pickle.dumps(model)),
        lambda model: torch.load(saved(model), weights_only=False),
    ],
    ids=['deepcopy', 'pickle', 'torch.save'],
)
def test_a_copy_has_a_state_of_its_own(make, copied):
    model = trained(make())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    other = copied(model)
    assert_close(dict(other.state_dict()), before)
    assert_close(other.criterion.column_weight, model.criterion.column_weight)
    other.criterion(5 * torch.eye(C), torch.arange(C))
    assert other.criterion.sample_count.sum() == 12 + C
    assert_close(dict(model.state_dict()), before)


def saved(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return file


@EVERY_STATE
@pytest.mark.filterwarnings('ignore')  # about saving from a single process
def test_a_distributed_checkpoint_holds_the_state(make, tmp_path):
    model, other = trained(make()), Model(make())
    dcp.save_state_dict(model.state_dict(), dcp.FileSystemWriter(tmp_path), no_dist=True)
    state = other.state_dict()
    dcp.load_state_dict(state, dcp.FileSystemReader(tmp_path), no_dist=True)
    other.load_state_dict(state)
    assert_close(dict(other.state_dict()), dict(model.state_dict()))


def test_every_loss_is_public():
    """So that a pickled model is loaded by names that stay."""
    for make in LEARNING.values():
        assert getattr(mmdet_ols, type(make()).__name__) is type(make())
