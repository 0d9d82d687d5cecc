"""What every state has in common: float32 buffers, sharing, and how a model is loaded."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from mmdet_ols import OLSLoss, OLSSingleLoss, OLSSparseLoss
from mmdet_ols.core import (
    PredictionBank,
    RollingState,
    SoftLabels,
    SparseSoftLabels,
    find_states,
    rolling_state,
    state_paths,
)

C = 5
STATES = {
    'dense': lambda: SoftLabels(C, start='label_smoothing'),
    'dense, background': lambda: SoftLabels(C, background=True),
    'sparse': lambda: SparseSoftLabels(C, 2, start='label_smoothing', background=True),
    'bank': lambda: PredictionBank(C, 3),
}
EVERY_STATE = pytest.mark.parametrize('make', STATES.values(), ids=STATES)
LOSSES = {
    'OLSLoss': OLSLoss,
    'OLSSparseLoss': lambda n, **options: OLSSparseLoss(n, top_m=2, **options),
    'OLSSingleLoss': lambda n, **options: OLSSingleLoss(n, bank_size=3, **options),
}
EVERY_LOSS = pytest.mark.parametrize('make', LOSSES.values(), ids=LOSSES)


def exactly(actual, expected):
    assert_close(actual, expected, rtol=0, atol=0)


def tensors(state):
    return {name: value.clone() for name, value in state.state_dict().items()}


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


def scores_and_labels():
    label = torch.randint(C, (20,))
    scores = torch.randn(20, C)
    scores[torch.arange(20), label] += 1
    return scores.requires_grad_(), label


def taught_loss(criterion):
    criterion(*scores_and_labels())
    criterion.update_soft_labels()
    criterion(*scores_and_labels())


def assert_equal_steps(one, other):
    exactly(tensors(other), tensors(one))
    for _ in range(2):
        batch = scores_and_labels()
        losses = []
        for criterion in (one, other):
            torch.manual_seed(7)  # one of the losses draws
            losses.append(criterion(*batch))
            criterion.update_soft_labels()
        exactly(*losses)
        exactly(tensors(other), tensors(one))


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


# --- one state for several losses ----------------------------------------------------------------


@EVERY_LOSS
def test_losses_with_one_state_learn_and_read_together(make):
    one = make(C)
    other = make(C, state=one.state)
    apart = make(C)
    for criterion in (one, other):
        batch = scores_and_labels()
        for learner in (criterion, apart):
            torch.manual_seed(7)
            learner(*batch)
    exactly(one.sample_count, other.sample_count)
    assert one.sample_count.sum() == 40
    one.update_soft_labels()
    apart.update_soft_labels()
    exactly(other.soft_labels, one.soft_labels)
    assert_close(tensors(other), tensors(apart))
    assert other.sample_count.sum() == 0


def test_a_shared_state_is_found_once_and_saved_under_both_paths():
    def model():
        first = OLSLoss(C)
        return nn.ModuleDict(dict(first=first, second=OLSLoss(C, state=first.state)))

    source, target = model(), model()
    taught_loss(source['second'])
    assert find_states(source) == {'first': source['first'].state}
    assert set(state_paths(source)) == {'first.state', 'second.state'}
    file = io.BytesIO()
    torch.save(source.state_dict(), file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    assert {'first.state.prob_sum', 'second.state.prob_sum'} <= set(saved)
    target.load_state_dict(saved)
    assert target['first'].state is target['second'].state
    assert_equal_steps(source['first'], target['second'])
    twin = copy.deepcopy(source)
    assert twin['first'].state is twin['second'].state is not source['first'].state


def test_names_of_states():
    shared = SoftLabels(C)
    model = nn.ModuleDict(
        dict(
            labels=shared,
            head=nn.ModuleDict(dict(loss_cls=OLSLoss(C))),
            other=OLSLoss(C, state=shared),
        )
    )
    assert find_states(model) == {
        'labels': shared,
        'head.loss_cls': model['head']['loss_cls'].state,
    }
    criterion = OLSLoss(C)
    assert find_states(criterion) == {'': criterion.state}
    assert find_states(shared) == {'': shared}
    assert find_states(nn.Linear(1, 1)) == {}


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        (dict(state=SparseSoftLabels(C)), TypeError, '`state` of OLSLoss must be a SoftLabels, .*'),
        (dict(state=SoftLabels(C + 1)), ValueError, '`state` must have num_classes=5, .* has 6'),
        (dict(state=SoftLabels(C, True)), ValueError, '`state` must have background=False'),
        (
            dict(state=SoftLabels(C), use_sigmoid=True, sigmoid_reading='mean'),
            ValueError,
            "`state` must have divide_by='count'",
        ),
        (
            dict(state=SoftLabels(C), start='zeros'),
            ValueError,
            "`start` is an option of the state, .* 'uniform', but got 'zeros': leave it out",
        ),
        (
            dict(state=SoftLabels(C, freeze_confidence=0.8), freeze_confidence=0.9),
            ValueError,
            '`freeze_confidence` is an option of the state, .* 0.8, but got 0.9',
        ),
    ],
)
def test_a_state_that_does_not_fit_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        OLSLoss(C, **options)


def test_options_of_a_state_may_be_left_out_or_agree():
    state = SoftLabels(C, start='zeros', empty_class='uniform')
    OLSLoss(C, state=state)
    OLSLoss(C, state=state, start='zeros')
    bank = PredictionBank(C, 7)
    assert OLSSingleLoss(C, state=bank).bank_size == 7
    with pytest.raises(ValueError, match='`bank_size` is an option of the state'):
        OLSSingleLoss(C, state=bank, bank_size=8)
    sparse = SparseSoftLabels(C, 3)
    assert OLSSparseLoss(C, state=sparse, top_m=3).top_m == 3
    with pytest.raises(ValueError, match='`top_m` is an option of the state'):
        OLSSparseLoss(C, state=sparse, top_m=4)


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
