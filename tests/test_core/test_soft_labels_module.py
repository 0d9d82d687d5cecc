"""SoftLabels as a module of PyTorch: buffers, state dict and copies; and its reminder."""

from __future__ import annotations

import copy
import io
import pickle
import warnings

import pytest
import torch
from test_core.steps import STATE, C, random_batch, teach, tensors, two_and_one_correct
from torch import nn
from torch.testing import assert_close

from mmdet_ols.core import SoftLabels


def test_everything_that_is_saved_is_a_buffer():
    """Loaders of the ecosystem know parameters and buffers only."""
    state = SoftLabels(C)
    assert [name for name, _ in state.named_buffers()] == list(STATE)
    assert not list(state.parameters())
    assert list(state.state_dict()) == list(STATE)


def test_state_dict_round_trip_within_a_model():
    def model():
        return nn.ModuleDict(dict(head=nn.Linear(2, C), loss=SoftLabels(C)))

    source, target = model(), model()
    teach(source['loss'], *random_batch())
    source['loss'].update_soft_labels()
    teach(source['loss'], *random_batch())
    file = io.BytesIO()
    torch.save(source.state_dict(), file)
    file.seek(0)

    target.load_state_dict(torch.load(file, weights_only=True))

    assert source['loss'].correct_count.sum() > 0
    assert_close(target.state_dict(), source.state_dict())
    assert_close(tensors(target['loss']), tensors(source['loss']))


@pytest.mark.parametrize('name', STATE)
def test_missing_key(name):
    saved = two_and_one_correct().state_dict()
    del saved[name]
    with pytest.raises(RuntimeError, match=rf'Missing key\(s\) in state_dict: "{name}"'):
        SoftLabels(C).load_state_dict(saved)

    state = SoftLabels(C)
    result = state.load_state_dict(saved, strict=False)
    assert (result.missing_keys, result.unexpected_keys) == ([name], [])
    assert_close(getattr(state, name), getattr(SoftLabels(C), name))


def test_unexpected_key():
    saved = two_and_one_correct().state_dict()
    saved['mystery'] = torch.zeros(1)
    with pytest.raises(RuntimeError, match=r'Unexpected key\(s\) in state_dict: "mystery"'):
        SoftLabels(C).load_state_dict(saved)


@pytest.mark.parametrize('name', STATE)
def test_key_of_another_shape(name):
    saved = two_and_one_correct().state_dict()
    saved[name] = torch.zeros(2)
    with pytest.raises(RuntimeError, match=rf'size mismatch for loss\.{name}'):
        nn.ModuleDict(dict(loss=SoftLabels(C))).load_state_dict(
            {f'loss.{key}': value for key, value in saved.items()}
        )


def test_loading_onto_a_meta_model():
    """`assign=True` is how a model made without memory takes its weights."""
    with torch.device('meta'):
        state = SoftLabels(C)
    saved = two_and_one_correct().state_dict()
    state.load_state_dict(saved, assign=True)
    assert_close(state.state_dict(), saved)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_conversion_of_the_model_leaves_float32(dtype):
    state = two_and_one_correct()
    before = tensors(state)
    nn.ModuleList([state]).to(dtype)
    assert_close(tensors(state), before)  # compares dtypes, too


def test_move_takes_all_four_tensors_along():
    state = two_and_one_correct()
    nn.ModuleList([state]).to('meta')
    assert {name: getattr(state, name).device.type for name in STATE} == dict.fromkeys(
        STATE, 'meta'
    )
    assert [name for name, _ in state.named_buffers()] == list(STATE)


def test_deepcopy_is_independent():
    state = two_and_one_correct()
    before = tensors(state)
    twin = copy.deepcopy(state)
    assert_close(tensors(twin), before)
    teach(twin, *random_batch())
    twin.update_soft_labels()
    assert_close(tensors(state), before)


def test_pickle_round_trip():
    state = two_and_one_correct()
    assert_close(tensors(pickle.loads(pickle.dumps(state))), tensors(state))


# --- the reminder --------------------------------------------------------------------------------


def test_warning_when_nobody_rolls_over():
    state = SoftLabels(C)
    state.train()
    teach(state, *random_batch())
    model = nn.ModuleList([state])
    model.eval()
    with pytest.warns(UserWarning, match=r'not updated yet.*OLSHook.*update_soft_labels\(\)'):
        model.train()
    assert state.training
    with warnings.catch_warnings():  # once is enough
        warnings.simplefilter('error')
        model.train()


@pytest.mark.parametrize('cared_for', ['rolled over', 'scheduled', 'evaluated only', 'to eval'])
def test_no_warning(cared_for):
    state = SoftLabels(C)
    if cared_for == 'scheduled':
        state.roll_over_scheduled = True
    if cared_for == 'evaluated only':
        state.eval()
    teach(state, *random_batch())
    if cared_for == 'rolled over':
        state.update_soft_labels()
        teach(state, *random_batch())
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        state.train(cared_for != 'to eval')
