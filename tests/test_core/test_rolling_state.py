"""What every state has in common: float32 buffers, sharing, and how a model is loaded."""

from __future__ import annotations

import pytest
import torch
from test_core.loss_steps import (
    EVERY_LOSS,
    C,
    assert_equal_steps,
    exactly,
    scores_and_labels,
    taught_loss,
    tensors,
)
from torch import nn
from torch.testing import assert_close

from mmdet_ols import OLSLoss, OLSSparseLoss
from mmdet_ols.core import (
    PredictionBank,
    RollingState,
    SoftLabels,
    SparseSoftLabels,
    rolling_state,
)

STATES = {
    'dense': lambda: SoftLabels(C, start='label_smoothing'),
    'dense, background': lambda: SoftLabels(C, background=True),
    'sparse': lambda: SparseSoftLabels(C, 2, start='label_smoothing', background=True),
    'bank': lambda: PredictionBank(C, 3),
}
EVERY_STATE = pytest.mark.parametrize('make', STATES.values(), ids=STATES)


def teach(state, n=20, dtype=torch.float32):
    label = torch.randint(C, (n,))
    logits = torch.randn(n, state.num_columns, dtype=dtype)
    logits[torch.arange(n), label] += 2
    state.accumulate(logits, logits.softmax(-1), label, torch.ones(n, dtype=torch.bool))


def taught(make):
    """In the middle of the second period."""
    state = make()
    teach(state)
    state.update_soft_labels()
    teach(state)
    return state


# --- dtypes --------------------------------------------------------------------------------------


@EVERY_STATE
@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16])
def test_default_dtype_changes_nothing(make, dtype):
    expected = {name: value.dtype for name, value in make().state_dict().items()}
    assert {torch.float32} <= set(expected.values()) <= {torch.float32, torch.int32, torch.int64}
    torch.set_default_dtype(dtype)
    try:
        state = make()
        teach(state, dtype=dtype)
        state.update_soft_labels()
        teach(state, dtype=dtype)
    finally:
        torch.set_default_dtype(torch.float32)
    assert {name: value.dtype for name, value in state.state_dict().items()} == expected


@EVERY_STATE
@pytest.mark.parametrize(
    'convert', [nn.Module.half, nn.Module.double, lambda model: model.to('cpu', torch.bfloat16)]
)
def test_conversion_of_the_model_changes_nothing(make, convert):
    state = taught(make)
    before = tensors(state)
    convert(nn.ModuleList([state]))
    exactly(tensors(state), before)  # compares dtypes, too


@EVERY_STATE
def test_conversions_past_the_module_are_undone(make):
    """FSDP's mixed precision converts buffers one by one."""
    state = taught(make)
    for name, buffer in state.named_buffers():
        if buffer.is_floating_point():
            state._buffers[name] = buffer.bfloat16()
    teach(state)
    assert torch.bfloat16 not in {value.dtype for value in state.state_dict().values()}


@EVERY_STATE
def test_assigned_tensors_of_another_type_are_converted(make):
    saved = {
        name: value.double() if value.is_floating_point() else value
        for name, value in taught(make).state_dict().items()
    }
    state = make()
    state.load_state_dict(saved, assign=True)
    assert torch.float64 not in {value.dtype for value in state.state_dict().values()}


# --- how a model is made and loaded --------------------------------------------------------------


@EVERY_LOSS
def test_all_that_is_saved_is_a_buffer(make):
    """As loaders that know parameters and buffers only need it."""
    model = nn.ModuleDict(dict(head=nn.Linear(2, C), loss=make(C)))
    state = model['loss'].state
    known = {name for name, _ in [*model.named_parameters(), *model.named_buffers()]}
    assert known == set(model.state_dict())
    own = {f'loss.state.{name}' for name in (*state.in_use, *state.collected)}
    assert known == {'head.weight', 'head.bias'} | own


@EVERY_LOSS
def test_loading_buffer_by_buffer(make):
    """As Accelerate does it: it finds the module of a name, and replaces the buffer there."""
    source, target = make(C), make(C)
    taught_loss(source)
    for name, value in source.state_dict().items():
        path, _, own = name.rpartition('.')
        module = target.get_submodule(path)
        assert own in module._buffers
        module._buffers[own] = value.clone()
    assert_equal_steps(source, target)


@EVERY_LOSS
def test_made_on_meta_and_loaded_after_to_empty(make):
    source = make(C)
    taught_loss(source)
    with torch.device('meta'):
        target = make(C)
    target.to_empty(device='cpu')
    target.load_state_dict(source.state_dict())
    assert_equal_steps(source, target)


@EVERY_LOSS
def test_made_on_meta_and_started_anew(make):
    """As FSDP makes it: it calls `reset_parameters` of every module with tensors of its own."""
    with torch.device('meta'):
        target = make(C, start='label_smoothing')
    target.to_empty(device='cpu')
    for buffer in target.buffers():
        buffer.fill_(7)
    for module in target.modules():
        if list(module.buffers(recurse=False)):
            module.reset_parameters()
    assert_equal_steps(make(C, start='label_smoothing'), target)


@EVERY_LOSS
def test_a_single_process_keeps_no_second_copy(make):
    """At 21,841 classes each of the dense matrices takes 1.9 GB."""
    criterion = make(C)
    places = {name: buffer.data_ptr() for name, buffer in criterion.named_buffers()}
    taught_loss(criterion)
    criterion.reduce_sums()
    criterion.state_dict()
    assert {name: buffer.data_ptr() for name, buffer in criterion.named_buffers()} == places
    assert criterion.state._own is None
    assert criterion.sample_count is criterion.state.sample_count


# --- today's keys --------------------------------------------------------------------------------


def as_of_old(saved):
    """The keys of a time when a loss was its own state."""
    return {name.replace('state.', ''): value for name, value in saved.items()}


@EVERY_LOSS
@pytest.mark.parametrize('where', ['', 'head.loss.'])
@pytest.mark.parametrize('assign', [False, True])
def test_earlier_keys_load_strictly(make, where, assign):
    source, target = make(C), make(C)
    taught_loss(source)
    saved = tensors(source)
    if 'state.reservoir_key' in saved:  # which had more bits
        key = saved['state.reservoir_key']
        saved['state.reservoir_key'] = torch.where(key > 0, (key - 1) << 15, 0)
    saved = {where + name: value for name, value in as_of_old(saved).items()}
    given = dict(saved)
    model = nn.ModuleDict(dict(head=nn.ModuleDict(dict(loss=target)))) if where else target
    model.load_state_dict(saved, assign=assign)
    assert list(saved) == list(given)  # the caller's dict is left alone
    assert_equal_steps(source, target)


def test_earlier_keys_that_are_missing_or_misshapen_are_named():
    saved = as_of_old(tensors(OLSLoss(C)))
    wrong = dict(saved, prob_sum=torch.zeros(2))
    with pytest.raises(RuntimeError, match=r'size mismatch for state\.prob_sum'):
        OLSLoss(C).load_state_dict(wrong)
    del saved['prob_sum']
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "state\.prob_sum"'):
        OLSLoss(C).load_state_dict(saved)


def test_of_both_kinds_of_keys_those_of_today_count():
    source = OLSLoss(C)
    taught_loss(source)
    saved = tensors(source)
    old = {name: torch.full_like(value, 9) for name, value in as_of_old(saved).items()}
    target = OLSLoss(C)
    target.load_state_dict({**saved, **old})
    exactly(tensors(target), saved)


# --- what one of several ranks does --------------------------------------------------------------


@pytest.fixture
def two_ranks_alone(monkeypatch):
    """As on one of two ranks; nothing collective may be called."""
    monkeypatch.setattr(rolling_state, 'world_size', lambda group=None: 2)


@EVERY_STATE
def test_what_a_rank_sees_is_private(make, two_ranks_alone):
    state = make()
    before = tensors(state)
    teach(state)
    teach(state)
    for _ in range(3):  # asking changes nothing
        exactly(tensors(state), before)
    so_far = state.so_far()
    assert so_far['sample_count'].sum() == 40
    exactly(state.so_far(), so_far)
    assert set(dict(state.named_buffers())) == set(before)


def test_the_loss_reads_what_its_rank_has_seen(two_ranks_alone):
    criterion, alone = OLSLoss(C), OLSLoss(C)
    criterion.state.sample_count.fill_(3)
    scores, label = scores_and_labels()
    criterion(scores, label)
    exactly(criterion.sample_count, 3 + label.bincount(minlength=C).float())
    assert criterion.prob_sum.sum() > 0 and not criterion.state.prob_sum.any()
    with pytest.raises(AttributeError, match='prob_sum'):
        _ = OLSSparseLoss(C).prob_sum
    assert alone.sample_count.sum() == 0


@EVERY_STATE
def test_loading_takes_the_place_of_what_a_rank_has_seen(make, two_ranks_alone, monkeypatch):
    state = make()
    teach(state)
    saved = {name: value.clone() for name, value in make().state_dict().items()}
    state.load_state_dict(saved)
    exactly(state.so_far(), {name: saved[name] for name in state.collected})


@EVERY_STATE
def test_what_only_this_rank_has_seen_is_missed_without_a_roll_over(make, two_ranks_alone):
    state = make()
    teach(state)
    with pytest.warns(UserWarning, match='soft labels were not updated yet'):
        state.train()


@EVERY_STATE
def test_private_sums_follow_the_module(make, two_ranks_alone):
    state = make()
    teach(state)
    state.half()
    assert {sums.dtype for sums in state.collecting().values()} <= {
        torch.float32,
        torch.int32,
        torch.int64,
    }
    state.to('meta')
    assert {sums.device.type for sums in state.collecting().values()} == {'meta'}


@EVERY_STATE
def test_a_group_that_has_ended_leaves_nothing_behind(make, monkeypatch):
    """What was private then counts where one process goes on alone."""
    state, expected = make(), make()
    for kind in (state, expected):
        torch.manual_seed(3)
        with monkeypatch.context() as patch:
            if kind is state:
                patch.setattr(rolling_state, 'world_size', lambda group=None: 2)
            teach(kind)
    teach_both = torch.random.get_rng_state()
    for kind in (state, expected):
        torch.random.set_rng_state(teach_both)
        teach(kind)
    reports = [kind.update_soft_labels() for kind in (state, expected)]
    if isinstance(state, SparseSoftLabels):  # whose rows in parts are found by another order
        exactly(reports[0].correct_share, reports[1].correct_share)
    else:
        assert_close(*reports)
        assert_close(tensors(state), tensors(expected))


def test_a_state_of_a_kind_of_its_own():
    """A count of steps: what a subclass has to say."""

    class Steps(RollingState):
        in_use, collected, added = ('last',), ('steps',), ('steps',)

        def __init__(self):
            super().__init__()
            self.register_buffer('last', torch.zeros(()))
            self.register_buffer('steps', torch.zeros(()))

        def _start(self):
            self.last.zero_()

        def _put_into_use(self):
            self.last.copy_(self.steps)
            return float(self.last)

    state = Steps()
    for _ in range(3):
        state.collecting()['steps'] += 1
    assert state.roll_over() == 3.0
    assert (state.last, state.steps) == (3, 0)
    state.reset_parameters()
    assert state.last == 0


@EVERY_LOSS
@pytest.mark.parametrize('rubbish', [0.0, 3e-42, -7.5e18, float('nan')])
def test_made_on_meta_and_left_with_what_was_in_memory(make, rubbish):
    """As Transformers leaves what is not in its checkpoint, tensor by tensor."""
    with torch.device('meta'):
        target = make(C)
    for name, buffer in target.state.named_buffers():
        left = torch.zeros_like(buffer, device='cpu')
        setattr(target.state, name, left.fill_(rubbish) if left.is_floating_point() else left)
    target.eval().train()
    assert_equal_steps(make(C), target)


@EVERY_LOSS
def test_made_on_meta_and_given_a_state_tensor_by_tensor(make):
    source = make(C)
    taught_loss(source)
    with torch.device('meta'):
        target = make(C)
    for name, buffer in source.state.named_buffers():
        setattr(target.state, name, buffer.clone())
    target.eval().train()
    assert_equal_steps(source, target)
