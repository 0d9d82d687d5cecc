"""What a set-up decides: versions, what is compiled for, with which flags and which CUDA."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tools'))
from environment import cuda_toolkit, mmcv_wheel  # noqa: E402
from environment.layout import ENVIRONMENTS, is_host, is_mmcv  # noqa: E402
from environment.mmcv_wheel import Torch, build_variables, choose_target  # noqa: E402

ONEDL, OPENMMLAB = ENVIRONMENTS['onedl'], ENVIRONMENTS['openmmlab']
WITHOUT_GPU = Torch('2.11.0+cu130', '13.0', '')
WITH_GPUS = Torch('2.11.0+cu130', '13.0', '8.0;9.0')


def version(pins: list[str], name: str) -> str:
    (pin,) = [pin for pin in pins if pin.startswith(f'{name}==')]
    return pin.removeprefix(f'{name}==').split(';')[0]


@pytest.mark.parametrize('environment', ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_every_package_has_one_version_and_all_hosts_are_there(environment):
    pins = environment.pins()
    names = [pin.split('==')[0] for pin in pins]
    assert all('==' in pin for pin in pins) and len(names) == len(set(names))
    assert len(list(filter(is_host, pins))) == 4 and len(list(filter(is_mmcv, pins))) == 1


def test_torch_2_1_wants_no_cuda_on_arm():
    """Its wheel for aarch64 is for the CPU, and NVIDIA's wheels of that time are for x86-64."""
    arm = {**default_environment(), 'platform_system': 'Linux', 'platform_machine': 'aarch64'}
    wanted = [Requirement(pin) for pin in OPENMMLAB.pins()]
    names = {pin.name for pin in wanted if pin.marker is None or pin.marker.evaluate(arm)}
    assert 'torch' in names
    assert not [name for name in names if name.startswith(('nvidia-', 'triton'))]


def test_the_oldest_torch_that_is_tested_is_the_oldest_that_is_allowed():
    oldest = '.'.join(version(OPENMMLAB.pins(), 'torch').split('.')[:2])
    for file in ('setup.py', 'README.md', 'docs/environment.md'):
        assert (
            f'torch>={oldest}' in (text := (ROOT / file).read_text()) or f'torch {oldest}' in text
        )


def test_the_cuda_compiler_is_of_the_cuda_of_torch():
    """nvcc refuses headers of another minor version, and torch's build refuses another nvcc."""
    torchs = version(ONEDL.pins(), 'nvidia-cuda-runtime').split('.')[:2]
    assert ONEDL.cuda_compiler is not None
    lines = ONEDL.cuda_compiler.read_text().splitlines()
    pins = [line for line in lines if not line.startswith('#')]
    assert [pin.split('==')[1].split('.')[:2] for pin in pins] == [torchs] * 4


@pytest.mark.parametrize(
    ('environment', 'torch', 'asked', 'target'),
    [
        (ONEDL, WITHOUT_GPU, '-', 'cpu'),
        (ONEDL, WITH_GPUS, '-', 'cuda8.0;9.0'),
        (ONEDL, WITH_GPUS, 'cpu', 'cpu'),
        (ONEDL, WITH_GPUS, 'cuda', 'cuda8.0;9.0'),
        (ONEDL, WITH_GPUS, 'cuda9.0', 'cuda9.0'),
        (ONEDL, WITHOUT_GPU, 'cuda9.0', 'cuda9.0'),
        (OPENMMLAB, WITH_GPUS, '-', 'cpu'),
        (OPENMMLAB, WITH_GPUS, 'cuda', 'cuda8.0;9.0'),
    ],
)
def test_operators_are_compiled_for_the_gpus_of_the_machine(environment, torch, asked, target):
    assert choose_target(environment, torch, asked) == target


@pytest.mark.parametrize('torch', [WITHOUT_GPU, Torch('2.11.0+cpu', 'None', '')])
def test_cuda_without_a_gpu_needs_to_know_for_which(torch):
    with pytest.raises(SystemExit, match='TORCH_CUDA_ARCH_LIST=9.0'):
        choose_target(ONEDL, torch, 'cuda')


def test_flags_are_whole_and_the_users_own_come_last(monkeypatch, tmp_path):
    monkeypatch.setenv('CFLAGS', '-march=native')
    monkeypatch.setenv('CXX', 'some++ -std=c++17')
    monkeypatch.setattr(mmcv_wheel.precompiled_header, 'is_gcc', lambda compiler: False)
    env = build_variables(ONEDL, WITH_GPUS, 'cpu', tmp_path)
    # Some releases of setuptools replace Python's own flags, -O included, by these.
    assert env['CFLAGS'] == '-O2 -g0 -DNDEBUG -march=native'
    assert env['CXX'] == 'some++ -std=c++17'  # as it is: only g++ gets precompiled headers
    assert (env['FORCE_CUDA'], env['CUDA_VISIBLE_DEVICES']) == ('0', '')

    monkeypatch.setattr(mmcv_wheel.precompiled_header, 'is_gcc', lambda compiler: True)
    monkeypatch.setattr(mmcv_wheel, 'cuda_home', lambda *_: Path('/cuda'))
    env = build_variables(ONEDL, WITH_GPUS, 'cuda9.0', tmp_path)
    assert env['CXX'] == str(tmp_path / 'g++')
    assert 'some++ -std=c++17' in (tmp_path / 'g++').read_text()
    assert (env['FORCE_CUDA'], env['CUDA_HOME']) == ('1', '/cuda')
    assert env['TORCH_CUDA_ARCH_LIST'] == '9.0' and 'CUDA_VISIBLE_DEVICES' not in env


def test_a_missing_toolkit_is_named_with_the_way_round(monkeypatch, tmp_path):
    monkeypatch.setattr(mmcv_wheel, 'cuda_home', lambda *_: None)
    with pytest.raises(SystemExit, match=r'CUDA toolkit 13\.0.*CUDA_HOME.*FORCE_CUDA=0'):
        build_variables(OPENMMLAB, WITH_GPUS, 'cuda9.0', tmp_path)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def test_only_a_whole_toolkit_of_the_same_version_is_used(monkeypatch, tmp_path):
    named, other = tmp_path / 'named', tmp_path / 'usr'
    for home in (named, other):
        write(
            home / 'bin/nvcc', '#!/bin/sh\necho "Cuda compilation tools, release 77.1, V77.1.1"\n'
        )
    write(named / 'include/cuda_runtime_api.h', '')
    monkeypatch.setenv('PATH', str(other / 'bin'))  # a script that calls a toolkit elsewhere
    monkeypatch.delenv('CUDA_HOME', raising=False)
    assert cuda_toolkit.cuda_home(OPENMMLAB, '77.1') is None
    monkeypatch.setenv('CUDA_HOME', str(named))
    assert cuda_toolkit.cuda_home(OPENMMLAB, '77.1') == named
    assert cuda_toolkit.cuda_home(OPENMMLAB, '77.2') is None


def test_wheels_become_the_folder_that_torch_expects(tmp_path):
    wheels = tmp_path / 'lib/python3.11/site-packages/nvidia/cu13'
    for name in ('bin/nvcc', 'nvvm/bin/cicc', 'include/cuda.h', 'lib/libcudart.so.13'):
        write(wheels / name, name)
    for _ in range(2):  # again after an interruption
        home = cuda_toolkit.put_together(tmp_path, '13.0')
    for name in ('bin/nvcc', 'nvvm/bin/cicc', 'include/cuda.h'):
        assert (home / name).read_text() == name
    assert (home / 'lib64/libcudart.so').read_text() == 'lib/libcudart.so.13'


def test_the_examples_are_tested_in_a_folder_whose_name_has_a_blank(tmp_path):
    checkout = tmp_path / 'a b'
    write(checkout / 'requirements/loops.txt', '')
    make = ['make', '--dry-run', '--file', ROOT / 'Makefile', '--directory', checkout, 'test-loops']
    printed = subprocess.run(make, capture_output=True, text=True, check=True).stdout
    (line,) = [line for line in printed.splitlines() if 'PYTHONPATH' in line]
    assert shlex.split(line)[:2] == [f'PYTHONPATH={checkout}/.venv-loops', '.venv/bin/python']


def test_set_up_needs_only_the_standard_library():
    code = 'import sys; sys.path.insert(0, "tools"); import setup_env; print(*sys.modules)'
    python = [sys.executable, '-S', '-c', code]
    modules = subprocess.run(python, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert not {'torch', 'numpy', 'mmdet_ols'} & set(modules.split())
