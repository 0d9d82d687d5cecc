"""Compiling mmcv, for which there are no wheels, once for all checkouts of a user."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import NamedTuple

from environment import precompiled_header
from environment.cuda_toolkit import cuda_home
from environment.layout import CACHE, Environment
from environment.machine import cxx
from environment.processes import run

CPU = 'cpu'
ASK_TORCH = """
import torch
count = torch.cuda.device_count() if torch.cuda.is_available() else 0
kinds = sorted({torch.cuda.get_device_capability(index) for index in range(count)})
print(torch.__version__)
print(torch.version.cuda)
print(';'.join(f'{major}.{minor}' for major, minor in kinds))
"""
WITHOUT_CUDA = 'Without the CUDA operators: FORCE_CUDA=0 make setup.'


class Torch(NamedTuple):
    """What the installed torch says of itself and of this machine's GPUs."""

    version: str
    #: Of CUDA; 'None' in a torch without it.
    cuda: str
    #: The compute capabilities of the GPUs that it sees, such as '8.0;9.0'; '' without one.
    gpus: str


def ask_torch(environment: Environment) -> Torch:
    """Ask the torch that is installed in an environment."""
    answer = subprocess.run(
        [environment.python, '-c', ASK_TORCH], check=True, capture_output=True, text=True
    )
    version, cuda, gpus = answer.stdout.split('\n')[-4:-1]
    return Torch(version, cuda, gpus)


def choose_target(environment: Environment, torch: Torch, asked: str) -> str:
    """Return what mmcv's operators are to be compiled for: 'cpu', or 'cuda' with capabilities.

    Args:
        environment: Where it is to be installed.
        torch: The torch there.
        asked: What the user asked for in this form, perhaps without capabilities; '-' to decide by
            the GPUs that torch sees.
    """
    if asked == CPU or (asked == '-' and not (torch.gpus and environment.cuda_compiler)):
        return CPU
    kinds = asked.removeprefix('-').removeprefix('cuda') or torch.gpus
    if torch.cuda == 'None' or not kinds:
        sys.exit(
            'error: FORCE_CUDA=1 compiles for a GPU, but torch sees none here. Remedy: name its'
            ' compute capability, as in FORCE_CUDA=1 TORCH_CUDA_ARCH_LIST=9.0 make setup'
        )
    return f'cuda{kinds}'


def mmcv_wheel(environment: Environment, requirement: str, torch: Torch, target: str) -> Path:
    """Return the compiled mmcv from the user's cache; compile it first if it is not there.

    Args:
        environment: Where it is compiled.
        requirement: The pinned requirement. There is no wheel of this package to download.
        torch: The torch that it is compiled for.
        target: As `choose_target` returns it.
    """
    # O2: wheels of earlier set-ups were compiled without optimisation.
    tag = f'cp311-torch{torch.version}-{sysconfig.get_platform()}-{target.replace(";", "_")}-O2'
    folder = CACHE / 'wheels' / tag
    name = requirement.replace('-', '_').replace('==', '-')
    wheel = next(folder.glob(f'{name}-*.whl'), None)
    if wheel:
        print(f'      {wheel}')
        return wheel
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as build:
        env = build_variables(environment, torch, target, Path(build))
        print(
            f'      compile it for {target} (MAX_JOBS={env["MAX_JOBS"]}), once for all checkouts,'
            f' since the wheel is kept in {folder}',
            flush=True,
        )
        # pip's own cache does not know for which torch a wheel was compiled.
        options = ('--no-deps', '--no-build-isolation', '--no-cache-dir', '--verbose')
        run(
            *(*environment.pip, 'wheel', *options, '--wheel-dir', build, requirement),
            log=environment.log,
            shows=r'\[\d+/\d+\]',
            env=env,
            remedy='' if target == CPU else WITHOUT_CUDA,
        )
        say_where_headers_did_not_fit(environment.log)
        (wheel,) = Path(build).glob('*.whl')
        # Moved as one: a wheel in the cache is always whole.
        return wheel.rename(folder / wheel.name)


def build_variables(
    environment: Environment, torch: Torch, target: str, build: Path
) -> dict[str, str]:
    """Return the environment variables that compile mmcv quickly, and into quick code.

    Args:
        environment: Where it is compiled.
        torch: The torch that it is compiled for.
        target: As `choose_target` returns it.
        build: A folder that exists as long as the build.
    """
    env = {**os.environ, 'MMCV_WITH_OPS': '1', 'FORCE_CUDA': str(int(target != CPU))}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    env.setdefault('MAX_JOBS', str(cores))
    # ninja and the compilers are called by name.
    env['PATH'] = f'{environment.python.parent}{os.pathsep}{env["PATH"]}'
    # Some releases of setuptools replace Python's own flags by these, so that they must be whole.
    # Debug symbols would make the compiler slower and the wheel bigger.
    env['CFLAGS'] = f'-O2 -g0 -DNDEBUG {env.get("CFLAGS", "")}'.strip()
    compiler = cxx()
    env['CXX'] = shlex.join(compiler)
    if precompiled_header.is_gcc(compiler):
        env['CXX'] = str(precompiled_header.write_compiler(compiler, build))
    if target == CPU:
        # mmcv compiles for CUDA wherever torch sees a GPU.
        env['CUDA_VISIBLE_DEVICES'] = ''
        return env
    home = cuda_home(environment, torch.cuda)
    if home is None:
        sys.exit(
            f'error: there is no CUDA toolkit {torch.cuda}, which the installed torch was compiled'
            f' with. Remedy: install it and set CUDA_HOME. {WITHOUT_CUDA}'
        )
    env['CUDA_HOME'] = str(home)
    env['TORCH_CUDA_ARCH_LIST'] = target.removeprefix('cuda')
    return env


def say_where_headers_did_not_fit(log: Path) -> None:
    """Print how many files were compiled without the precompiled header, which takes far longer."""
    marks = (f'[{precompiled_header.WARNING}]', precompiled_header.FAILED)
    lines = log.read_text(errors='replace').splitlines()
    count = sum(any(mark in line for mark in marks) for line in lines)
    if count:
        print(f"      Note: {count} times torch's headers had to be compiled again; see {log}")
