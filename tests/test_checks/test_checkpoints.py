"""Checkpoints are loaded as data only, and what does not fit is reported before it costs time."""

import os
from collections import Counter

import allowed_globals
import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.optim import OneCycleLR
from mmengine.runner import CheckpointLoader
from torch import nn

from mmdet_ols.checks import checkpoints as module
from mmdet_ols.checks.checkpoints import load_checkpoint, loading_rules


class Reduced:
    """Pickles as the call `function(*arguments)`."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def save(path, **content):
    torch.save({'state_dict': {'weight': torch.arange(3.0)}, **content}, path)
    return path


def mmengine_records():
    """The kinds of records that MMEngine saves beside the weights."""
    buffer = HistoryBuffer([1.0, 2.5], [1, 1])
    return dict(
        message_hub=dict(log_scalars={'train/loss': buffer}, runtime_info={'epoch': np.int64(3)}),
        meta=dict(dataset_meta=dict(classes=('a', 'b')), seed=1),
        optimizer=dict(state={0: dict(momentum_buffer=torch.ones(2))}, param_groups=[{'lr': 0.1}]),
    )


def test_records_of_mmengine_load_as_data(tmp_path):
    path = save(tmp_path / 'epoch_1.pth', **mmengine_records())
    allowed_globals.clear()  # of tests that ran before in this process
    with pytest.raises(Exception, match='HistoryBuffer'):
        torch.load(path, weights_only=True)
    loaded = load_checkpoint(path)
    history, count = loaded['message_hub']['log_scalars']['train/loss'].data
    np.testing.assert_array_equal(history, [1.0, 2.5])
    np.testing.assert_array_equal(count, [1, 1])
    assert loaded['message_hub']['log_scalars']['train/loss'].mean() == 1.75
    assert loaded['meta']['dataset_meta']['classes'] == ('a', 'b')
    torch.testing.assert_close(loaded['state_dict']['weight'], torch.arange(3.0))


@pytest.mark.parametrize('load', [load_checkpoint, CheckpointLoader.load_checkpoint])
def test_code_in_a_checkpoint_is_not_run_unless_trusted(tmp_path, load):
    """MMEngine's own loader obeys as well; otherwise it would fall back to running the code."""
    trace = tmp_path / 'was_here'
    path = str(save(tmp_path / 'hostile.pth', meta=Reduced(os.mkdir, str(trace))))
    with loading_rules(trust=False), pytest.raises(Exception, match='mkdir'):
        load(path)
    assert not trace.exists()
    with loading_rules(trust=True):
        load(path)
    assert trace.exists()


def test_no_checkpoint_is_trusted_by_default(tmp_path):
    trace = tmp_path / 'was_here'
    path = str(save(tmp_path / 'hostile.pth', meta=Reduced(os.mkdir, str(trace))))
    with pytest.raises(ValueError, match='mkdir'):
        load_checkpoint(path)
    assert not trace.exists()


@pytest.mark.parametrize('before', [{}, {module.DISTRUST: '1'}, {module.TRUST: '1'}])
def test_the_rules_leave_the_process_as_it_was(before, monkeypatch):
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    environment = dict(os.environ)
    allowed_globals.allow([HistoryBuffer])
    allowed = allowed_globals.allowed_ids()

    def state():
        return dict(os.environ), allowed_globals.allowed_ids()

    for trust in (False, True):
        with pytest.raises(KeyError), loading_rules(trust):
            assert (module.TRUST in os.environ, module.DISTRUST in os.environ) == (trust, not trust)
            inside = state()
            with loading_rules(not trust):
                assert (module.TRUST in os.environ) != trust
            assert state() == inside
            raise KeyError
        assert state() == (environment, allowed)
    allowed_globals.clear()


def test_records_load_after_mmengine_has_taken_its_own_permissions_back(tmp_path):
    """Its loader allows them for one call, and then no longer, even where they were allowed."""
    path = str(save(tmp_path / 'epoch_1.pth', **mmengine_records()))
    with loading_rules():
        for _ in range(2):
            CheckpointLoader.load_checkpoint(path, map_location='cpu')
            load_checkpoint(path)


def test_refusal_names_file_reason_and_remedy(tmp_path):
    path = save(tmp_path / 'hostile.pth', meta=Reduced(os.mkdir, 'x'))
    with pytest.raises(ValueError, match=r'hostile\.pth was not loaded.*mkdir.*--trust-checkpoint'):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ('owner', 'name'), [(HistoryBuffer, '__init__'), (np.ndarray, 'tofile'), (np.dtype, 'type')]
)
def test_getattr_reaches_only_the_statistics_of_history_buffers(tmp_path, owner, name):
    path = save(tmp_path / 'hostile.pth', meta=Reduced(getattr, owner, name))
    with pytest.raises(ValueError, match='getattr'):
        load_checkpoint(path)


def test_damaged_and_missing_files(tmp_path):
    path = save(tmp_path / 'epoch_1.pth', **mmengine_records())
    short = tmp_path / 'short.pth'
    short.write_bytes(path.read_bytes()[:-200])
    (tmp_path / 'empty.pth').write_bytes(b'')
    (tmp_path / 'pointer.pth').write_text('version https://git-lfs.github.com/spec/v1')
    for name in ('short', 'empty', 'pointer'):
        with pytest.raises(ValueError, match=rf'{name}\.pth cannot be read.*cut short'):
            load_checkpoint(tmp_path / f'{name}.pth')
    with pytest.raises(FileNotFoundError, match=r'no checkpoint file .*absent\.pth'):
        load_checkpoint(tmp_path / 'absent.pth')
    torch.save([1, 2], tmp_path / 'list.pth')
    with pytest.raises(ValueError, match='holds a list'):
        load_checkpoint(tmp_path / 'list.pth')


@pytest.mark.parametrize('anneal', ['cos', 'linear'])
def test_state_of_a_one_cycle_scheduler_loads(tmp_path, anneal):
    """It holds a function of its own, as the only scheduler of MMEngine."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1, momentum=0.9)
    scheduler = OneCycleLR(optimizer, eta_max=1.0, total_steps=9, anneal_strategy=anneal)
    path = save(tmp_path / 'epoch_1.pth', param_schedulers=[scheduler.state_dict()])
    (loaded,) = load_checkpoint(path)['param_schedulers']
    assert loaded['anneal_func'](2.0, 4.0, 0.5) == pytest.approx(3.0)


class SetsAttributes:
    """Pickles as attributes that are set on a class, where only those of an object may be."""

    def __reduce__(self):
        return getattr, (HistoryBuffer, 'mean'), {'planted': 1}


def test_a_checkpoint_sets_no_attribute_of_what_it_may_call(tmp_path):
    path = save(tmp_path / 'hostile.pth', meta=SetsAttributes())
    with pytest.raises(ValueError, match=r'hostile\.pth'):
        load_checkpoint(path)
    assert not hasattr(HistoryBuffer.mean, 'planted')


def test_containers_of_the_standard_library_load(tmp_path):
    """The milestones of a MultiStepLR are a Counter."""
    records = dict(milestones=Counter([8, 8, 11]), seen={1, 2}, raw=bytearray(b'ab'))
    loaded = load_checkpoint(save(tmp_path / 'epoch_1.pth', **records))
    assert {name: loaded[name] for name in records} == records
