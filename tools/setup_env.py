#!/usr/bin/env python
"""Make an environment of the checkout, or bring it up to date; needs only the standard library.

python3.11 tools/setup_env.py              # .venv: torch and hosts of today
python3.11 tools/setup_env.py openmmlab    # .venv-openmmlab: OpenMMLab's own last releases
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from environment.layout import CACHE, ENVIRONMENTS, ROOT, Environment, is_host, is_mmcv
from environment.machine import check_machine, gpu_signs
from environment.mmcv_wheel import CPU, ask_torch, choose_target, mmcv_wheel
from environment.processes import run

PIP_PROGRESS = r'(Collecting|Downloading|Building wheel for) [^\s;]+|Installing collected packages'
# opencv-python-headless provides the same cv2 and does not need the system's libGL.
TOLERATED = re.compile(r'requires opencv-python, which is not installed')
SELF_TEST = """
import cv2, mmdet, mmpretrain, torch, torchvision
from mmcv.ops import get_compiling_cuda_version, nms
with_cuda = torch.cuda.is_available() and get_compiling_cuda_version() != 'not available'
for device in ('cpu', 'cuda') if with_cuda else ('cpu',):
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30]], device=device)
    scores = torch.tensor([0.9, 0.8, 0.7], device=device)
    kept = torchvision.ops.nms(boxes, scores, 0.5).tolist(), nms(boxes, scores, 0.5)[1].tolist()
    if kept != ([0, 2], [0, 2]):
        raise SystemExit(f'On {device}, torchvision and mmcv kept {kept} instead of [0, 2]')
if torch.cuda.is_available() and not with_cuda:
    print('Note: mmcv is compiled only for the CPU, but detectors on a GPU need its CUDA operators.'
          ' To compile them: FORCE_CUDA=1 make setup')
"""


class Stamp(NamedTuple):
    """What a finished set-up writes down, so that the next one sees whether it has to do anything.

    Attributes:
        made_from: A digest of everything that decides what is in the environment.
        asked: What mmcv was to be compiled for, if the user said so: 'cpu', or 'cuda' with the
            compute capabilities that were named. '-' lets the GPUs that torch sees decide.
    """

    made_from: str = ''
    asked: str = '-'

    @classmethod
    def read(cls, file: Path) -> Stamp:
        words = file.read_text().split() if file.exists() else []
        return cls(*words) if len(words) == len(cls._fields) else cls()

    def write(self, file: Path) -> None:
        file.write_text(' '.join(self))


def main() -> None:
    """Make or update the environment in five steps, or return at once if it is up to date."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').split('\n')[0])
    parser.add_argument('hosts', nargs='?', choices=ENVIRONMENTS, default='onedl')
    environment = ENVIRONMENTS[parser.parse_args().hosts]
    # Held until this process and its children have ended, so that no second set-up interferes.
    lock = open(__file__, 'a')  # noqa: SIM115
    os.set_inheritable(lock.fileno(), True)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print('Another set-up of this checkout is running: waiting for it', flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)

    old = Stamp.read(environment.stamp)
    new = Stamp(digest(environment), asked_for() or old.asked)
    usable = works(environment)
    if usable and new == old:
        return

    step(1, 'check this machine')
    check_machine(new=not usable)

    name = environment.folder.name
    step(2, f'keep {name}' if usable else f'make {name}')
    if not usable:
        refuse_foreign(environment)
        made = subprocess.run([sys.executable, '-m', 'venv', '--clear', environment.folder])
        if made.returncode:
            sys.exit(f'error: could not make {name}, see above')
    environment.log.write_text('')
    Stamp('unfinished', new.asked).write(environment.stamp)
    forget_half_installed(environment)

    install(environment, new.asked)
    check_environment(environment)
    new.write(environment.stamp)
    print(f'{name} is ready')


def asked_for() -> str:
    """Return for what the user says that mmcv is to be compiled; '' where nothing is said."""
    kinds = os.environ.get('TORCH_CUDA_ARCH_LIST', '').replace(' ', ';')
    return {'0': CPU, '1': f'cuda{kinds}'}.get(os.environ.get('FORCE_CUDA', ''), '')


def digest(environment: Environment) -> str:
    """Return what differs whenever another environment would be made."""
    tools = sorted((ROOT / 'tools' / 'environment').glob('*.py'))
    cuda = [environment.cuda_compiler] if environment.cuda_compiler else []
    sources = [environment.lock, *cuda, ROOT / 'setup.py', Path(__file__), *tools]
    content = [bytes(ROOT), gpu_signs().encode(), *map(Path.read_bytes, sources)]
    return hashlib.sha256(b'\0'.join(content)).hexdigest()


def install(environment: Environment, asked: str) -> None:
    """Install the pinned packages, a compiled mmcv, the other hosts and this project.

    Args:
        environment: Where to.
        asked: See `Stamp`.
    """
    step(3, 'install PyTorch and the other pinned packages: about 2 minutes (downloads 2 GB)')
    pins = environment.pins()
    rest = [pin for pin in pins if not is_host(pin)]
    pip_install = (*environment.pip, 'install', '--no-deps')
    run(*pip_install, *rest, log=environment.log, shows=PIP_PROGRESS)

    step(4, 'install mmcv')
    torch = ask_torch(environment)
    target = choose_target(environment, torch, asked)
    wheel = mmcv_wheel(environment, next(filter(is_mmcv, pins)), torch, target)
    # Forced, since the same version compiled for another torch, or without CUDA, may be there.
    run(*pip_install, '--force-reinstall', str(wheel), log=environment.log)

    step(5, 'install MMEngine, MMDetection, MMPretrain and this project, and try them')
    # Built with the pinned setuptools: the newest one may be too new for them.
    options = ('--no-build-isolation', '--requirement', str(environment.lock), '--editable', '.')
    run(*pip_install, *options, log=environment.log, shows=PIP_PROGRESS)


def step(number: int, title: str) -> None:
    """Print which step starts."""
    print(f'[{number}/5] {title}', flush=True)


def works(environment: Environment) -> bool:
    """Return whether an environment has a Python 3.11 that runs and a complete pip."""
    test = (
        # RECORD, the list of a package's files, is written last.
        'import importlib.metadata as m, sys;'
        "sys.exit(sys.version_info[:2] != (3, 11) or not m.files('pip'))"
    )
    try:
        return subprocess.run([environment.python, '-c', test], capture_output=True).returncode == 0
    except OSError:
        return False


def refuse_foreign(environment: Environment) -> None:
    """Exit where the folder holds an environment of another Python, which no set-up has made."""
    config = environment.folder / 'pyvenv.cfg'
    text = config.read_text(errors='replace') if config.is_file() else ''
    version = re.search(r'^version(?:_info)? *= *(\S+)', text, re.MULTILINE)
    if version and not version[1].startswith('3.11.') and not environment.stamp.exists():
        sys.exit(
            f'error: {environment.folder} is an environment of Python {version[1]} that this set-up'
            ' has not made, and making it for Python 3.11 would empty it. Remedy: rename or remove'
            ' that folder'
        )


def forget_half_installed(environment: Environment) -> None:
    """Remove what an interrupted pip left, so that the next one installs those packages again.

    pip considers a package installed once its `dist-info` exists, but writes RECORD last.
    """
    for site_packages in environment.folder.glob('lib/python*/site-packages'):
        for info in site_packages.glob('*.dist-info'):
            if not (info / 'RECORD').exists():
                shutil.rmtree(info)
        for renamed in site_packages.glob('~*'):
            shutil.rmtree(renamed)


def check_environment(environment: Environment) -> None:
    """Try the compiled packages, and ask pip whether the pinned versions are compatible."""
    test = (str(environment.python), '-c', SELF_TEST)
    result = subprocess.run(test, capture_output=True, text=True)
    if result.returncode:
        sys.exit(
            f'{result.stderr}\nerror: the new environment does not work, see above. Remedy: make'
            f' clean setup; if that does not help, remove {CACHE} so that mmcv is compiled again'
        )
    print(result.stdout, end='')
    result = subprocess.run([*environment.pip, 'check'], capture_output=True, text=True)
    complaints = [line for line in result.stdout.splitlines() if not TOLERATED.search(line)]
    if result.returncode and complaints:
        sys.exit(
            'error: pip check finds packages that are not compatible:\n'
            + '\n'.join(complaints)
            + f'\nRemedy: make clean setup; if that does not help, correct {environment.lock}'
        )


def command_line() -> None:
    """Set up, and end with a message if it is interrupted or may not write."""
    os.chdir(ROOT)
    try:
        main()
    except KeyboardInterrupt:
        sys.exit('\nInterrupted: the same command continues from here')
    except PermissionError as error:
        sys.exit(
            f'error: {error}. A set-up writes into {ROOT} and {CACHE}. Remedy: clone to a folder of'
            ' your own; MMDET_OLS_CACHE=FOLDER names another folder for the cache'
        )


if __name__ == '__main__':
    command_line()
