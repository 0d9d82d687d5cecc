"""When a set-up has something to do, and what it remembers."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / 'tools'
sys.path.insert(0, str(TOOLS))
import setup_env  # noqa: E402


@pytest.fixture
def set_up(tmp_path, monkeypatch):
    """Set an environment up, and return for what mmcv was compiled; `None` if nothing was done."""
    environment = dataclasses.replace(setup_env.ENVIRONMENTS['onedl'], folder=tmp_path)
    done = []
    monkeypatch.setattr(setup_env, 'ENVIRONMENTS', {'onedl': environment})
    monkeypatch.setattr(setup_env, 'works', lambda environment: True)
    monkeypatch.setattr(setup_env, 'check_machine', lambda new: None)
    monkeypatch.setattr(setup_env, 'check_environment', lambda environment: None)
    monkeypatch.setattr(setup_env, 'install', lambda environment, asked: done.append(asked))
    monkeypatch.setattr(setup_env, 'gpu_signs', lambda: '')

    def run(**variables: str) -> str | None:
        for name in ('FORCE_CUDA', 'TORCH_CUDA_ARCH_LIST'):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, 'argv', ['setup_env.py'])
        done.clear()
        setup_env.main()
        return done[0] if done else None

    return run


def test_what_is_up_to_date_is_left_alone(set_up):
    assert set_up() == '-'
    assert set_up() is None


def test_what_was_asked_for_is_remembered_until_something_else_is(set_up, monkeypatch):
    assert set_up(FORCE_CUDA='1', TORCH_CUDA_ARCH_LIST='8.0 9.0') == 'cuda8.0;9.0'
    assert set_up() is None
    # With a new driver the set-up runs again, still for what was asked for.
    monkeypatch.setattr(setup_env, 'gpu_signs', lambda: 'driver 580 /dev/nvidia0')
    assert set_up() == 'cuda8.0;9.0'
    assert set_up(FORCE_CUDA='0') == 'cpu'
    assert set_up() is None


def test_a_gpu_that_appears_is_noticed(set_up, monkeypatch):
    assert set_up() == '-'
    monkeypatch.setattr(setup_env, 'gpu_signs', lambda: '/dev/nvidia0')
    assert set_up() == '-'


def test_an_interrupted_set_up_goes_on_with_what_was_asked_for(set_up, monkeypatch):
    def interrupted(environment, asked):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(setup_env, 'install', interrupted)
        set_up(FORCE_CUDA='1', TORCH_CUDA_ARCH_LIST='9.0')
    assert set_up() == 'cuda9.0'


def test_a_folder_that_must_not_be_written_is_named(monkeypatch, capsys):
    def refuse(*_, **__):
        raise PermissionError(13, 'Permission denied', '/read-only/tools/setup_env.py')

    monkeypatch.setattr('builtins.open', refuse)
    monkeypatch.setattr(sys, 'argv', ['setup_env.py'])
    with pytest.raises(SystemExit, match="'/read-only/tools/setup_env.py'.*MMDET_OLS_CACHE"):
        setup_env.command_line()


@pytest.mark.parametrize('key', ['version', 'version_info'])  # of venv, and of virtualenv and uv
def test_an_environment_of_another_python_is_not_emptied(set_up, tmp_path, monkeypatch, key):
    monkeypatch.setattr(setup_env, 'works', lambda environment: False)
    (tmp_path / 'pyvenv.cfg').write_text(f'home = /usr/bin\n{key} = 3.12.4\n')
    with pytest.raises(SystemExit, match=r'Python 3\.12\.4 that this set-up .* Remedy: rename'):
        set_up()
    assert (tmp_path / 'pyvenv.cfg').exists()


@pytest.mark.parametrize('is_ours', [True, False])
def test_an_environment_that_broke_is_made_again(set_up, tmp_path, monkeypatch, is_ours):
    made = []
    monkeypatch.setattr(setup_env, 'works', lambda environment: False)
    monkeypatch.setattr(
        setup_env.subprocess,
        'run',
        lambda command: made.append(command) or subprocess.CompletedProcess(command, 0),
    )
    # One of ours, whose Python was exchanged; or one that an interrupted set-up has begun.
    (tmp_path / 'pyvenv.cfg').write_text(f'version = {"3.12.4" if is_ours else "3.11.7"}\n')
    if is_ours:
        (tmp_path / 'setup-stamp').write_text('0 -')
    assert set_up() == '-' and len(made) == 1
