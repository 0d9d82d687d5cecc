#!/usr/bin/env python
"""Make the checkout's `.venv`, or bring it up to date; needs only the standard library."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / 'requirements' / 'lock.txt'
VENV = ROOT / '.venv'
PYTHON = VENV / 'bin' / 'python'
LOG = VENV / 'setup.log'
# Says what the environment was made from, and for what mmcv's operators were compiled: 'cpu' or
# 'cuda'.
STAMP = VENV / 'setup-stamp'
# Not imported: the package needs torch.
CACHE = runpy.run_path(str(ROOT / 'mmdet_ols/core/cache.py'))['cache_folder']() or Path('.cache')
DISK_GB = 8
PIP = (str(PYTHON), '-m', 'pip', '--disable-pip-version-check', '--no-input')
PIP_PROGRESS = r'(Collecting|Downloading|Building wheel for) [^\s;]+|Installing collected packages'

# opencv-python-headless provides the same cv2 and does not need the system's libGL.
TOLERATED = re.compile(r'requires opencv-python, which is not installed')
SELF_TEST = """
import cv2, mmdet, mmpretrain, torch, torchvision
from mmcv.ops import get_compiling_cuda_version, nms
boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30]])
scores = torch.tensor([0.9, 0.8, 0.7])
kept = torchvision.ops.nms(boxes, scores, 0.5).tolist(), nms(boxes, scores, 0.5)[1].tolist()
if kept != ([0, 2], [0, 2]):
    raise SystemExit(f'torchvision and mmcv kept the boxes {kept}, which should be [0, 2]')
if torch.cuda.is_available() and get_compiling_cuda_version() == 'not available':
    print('Note: mmcv is compiled only for the CPU, but detectors on a GPU need its CUDA operators.'
          f' With the CUDA toolkit {torch.version.cuda} installed, run: FORCE_CUDA=1 make setup')
"""


def main() -> None:
    """Make or update the environment in five steps, or return at once if it is up to date."""
    # Held until this process and its children have ended, so that no second set-up interferes.
    lock = open(__file__, 'a')  # noqa: SIM115
    os.set_inheritable(lock.fileno(), True)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print('Another set-up of this checkout is running: waiting for it', flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)

    sources = [LOCK, ROOT / 'setup.py', Path(__file__)]
    digest = hashlib.sha256(b'\0'.join([bytes(ROOT), *map(Path.read_bytes, sources)])).hexdigest()
    stamp = STAMP.read_text().split() if STAMP.exists() else []
    made_from, made_for = stamp if len(stamp) == 2 else ('', 'cpu')
    ops = {'0': 'cpu', '1': 'cuda'}.get(os.environ.get('FORCE_CUDA', ''), made_for)
    usable = venv_works()
    if usable and (made_from, made_for) == (digest, ops):
        return

    step(1, 'check this machine')
    check_machine(new=not usable)

    step(2, 'keep .venv' if usable else 'make .venv')
    if not usable:
        made = subprocess.run([sys.executable, '-m', 'venv', '--clear', VENV])
        if made.returncode:
            sys.exit('error: could not make .venv, see above')
    LOG.write_text('')
    STAMP.write_text(f'unfinished {made_for}')
    forget_half_installed()

    step(3, 'install PyTorch and the other pinned packages: about 2 minutes (downloads 2 GB)')
    pins = [line for line in LOCK.read_text().splitlines() if line and not line.startswith('#')]
    rest = [pin for pin in pins if not pin.startswith('onedl-')]
    run(*PIP, 'install', '--no-deps', *rest, shows=PIP_PROGRESS)

    step(4, 'install mmcv')
    mmcv = next(pin for pin in pins if pin.startswith('onedl-mmcv=='))
    # Forced, since the same version compiled for another torch, or without CUDA, may be there.
    run(*PIP, 'install', '--no-deps', '--force-reinstall', str(mmcv_wheel(mmcv, ops)))

    step(5, 'install MMEngine, MMDetection, MMPretrain and this project, and try them')
    # Built with the pinned setuptools: the newest one may be too new for them.
    options = ('--no-deps', '--no-build-isolation', '--requirement', str(LOCK), '--editable', '.')
    run(*PIP, 'install', *options, shows=PIP_PROGRESS)
    check_environment()
    STAMP.write_text(f'{digest} {ops}')
    print('.venv is ready')


def step(number: int, title: str) -> None:
    """Print which step starts."""
    print(f'[{number}/5] {title}', flush=True)


def check_machine(new: bool) -> None:
    """Exit with the remedy if this machine lacks something that a set-up needs.

    Args:
        new: Whether `.venv` is made from scratch, which takes disk space.
    """
    if sys.version_info[:2] != (3, 11):
        sys.exit(
            f'error: requirements/lock.txt is for Python 3.11, and {sys.executable} is'
            f' {sys.version.split()[0]}. Remedy: make PYTHON=/path/to/python3.11'
        )
    try:
        import venv  # noqa: F401
        from ensurepip import version  # noqa: F401
    except ImportError as error:
        sys.exit(
            f'error: {sys.executable} cannot create virtual environments ({error}).'
            ' Remedy: install its venv module (Debian, Ubuntu: apt install python3.11-venv)'
        )
    header = Path(sysconfig.get_path('include'), 'Python.h')
    if not header.exists():
        sys.exit(
            f'error: mmcv is compiled here, and {header} is missing. Remedy: install the headers of'
            ' Python 3.11 (Debian, Ubuntu: apt install python3.11-dev; Fedora: python3.11-devel)'
        )
    # torch's extension builder calls $CXX, or c++ if that is not set.
    if not os.environ.get('CXX'):
        os.environ['CXX'] = next(filter(shutil.which, ('c++', 'g++', 'clang++')), 'c++')
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, 'works.cpp')
        source.write_text('#include <optional>\nint main() { return *std::optional<int>(0); }\n')
        command = [*shlex.split(os.environ['CXX']), '-std=c++17', str(source)]
        command += ['-o', str(source.with_suffix(''))]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            sys.exit(
                f'error: the C++ compiler does not compile C++17: {shlex.join(command)}\n'
                f'{getattr(error, "stderr", "") or error}\n'
                'Remedy: install g++ (Debian, Ubuntu: apt install g++), or name another: CXX=...'
            )
    free_gb = shutil.disk_usage(ROOT).free / 1e9
    if new and free_gb < DISK_GB:
        sys.exit(
            f'error: .venv takes up to {DISK_GB} GB while it is made, but {ROOT} has only'
            f' {free_gb:.1f} GB free. Remedy: free some space, or clone to another disk'
        )


def venv_works() -> bool:
    """Return whether `.venv` has a Python 3.11 that runs and a complete pip."""
    test = (
        # RECORD, the list of a package's files, is written last.
        'import importlib.metadata as m, sys;'
        "sys.exit(sys.version_info[:2] != (3, 11) or not m.files('pip'))"
    )
    try:
        return subprocess.run([PYTHON, '-c', test], capture_output=True).returncode == 0
    except OSError:
        return False


def forget_half_installed() -> None:
    """Remove what an interrupted pip left, so that the next one installs those packages again.

    pip considers a package installed once its `dist-info` exists, but writes RECORD last.
    """
    for site_packages in VENV.glob('lib/python*/site-packages'):
        for info in site_packages.glob('*.dist-info'):
            if not (info / 'RECORD').exists():
                shutil.rmtree(info)
        for renamed in site_packages.glob('~*'):
            shutil.rmtree(renamed)


def mmcv_wheel(requirement: str, ops: str) -> Path:
    """Return the compiled mmcv from the user's cache; compile it first if it is not there.

    Args:
        requirement: The pinned requirement. There is no wheel of this package to download.
        ops: What its operators are compiled for, 'cpu' or 'cuda'.
    """
    query = 'import torch; print(torch.__version__)'
    torch = subprocess.run([PYTHON, '-c', query], check=True, capture_output=True, text=True)
    tag = f'cp311-torch{torch.stdout.strip()}-{sysconfig.get_platform()}-{ops}'
    folder = CACHE / 'wheels' / tag
    name = requirement.replace('-', '_').replace('==', '-')
    if found := list(folder.glob(f'{name}-*.whl')):
        print(f'      {found[0]}')
        return found[0]

    env = {**os.environ, 'MMCV_WITH_OPS': '1', 'FORCE_CUDA': str(int(ops == 'cuda'))}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    env.setdefault('MAX_JOBS', str(cores))
    # ninja and the compilers are called by name.
    env['PATH'] = f'{PYTHON.parent}{os.pathsep}{env["PATH"]}'
    # Nobody reads debug symbols, and they make the compiler slower and the wheel bigger.
    env['CFLAGS'] = f'{env.get("CFLAGS", "")} -g0'
    if ops == 'cpu':
        # mmcv compiles for CUDA wherever torch sees a GPU, and fails without the toolkit.
        env['CUDA_VISIBLE_DEVICES'] = ''
    print(
        f'      compile it: about 10 minutes on 2 cores (MAX_JOBS={env["MAX_JOBS"]}), once for all'
        f' checkouts, since the wheel is kept in {folder}',
        flush=True,
    )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as build:
        # pip's own cache does not know for which torch a wheel was compiled.
        run(
            *(*PIP, 'wheel', '--no-deps', '--no-build-isolation', '--no-cache-dir', '--verbose'),
            *('--wheel-dir', build, requirement),
            shows=r'\[\d+/\d+\]',
            env=env,
        )
        (wheel,) = Path(build).glob('*.whl')
        # Moved as one: a wheel in the cache is always whole.
        return wheel.rename(folder / wheel.name)


def check_environment() -> None:
    """Try the compiled packages, and ask pip whether the pinned versions are compatible."""
    result = subprocess.run([PYTHON, '-c', SELF_TEST], capture_output=True, text=True)
    if result.returncode:
        sys.exit(
            f'{result.stderr}\nerror: the new environment does not work, see above. Remedy: make'
            f' clean setup; if that does not help, remove {CACHE} so that mmcv is compiled again'
        )
    print(result.stdout, end='')
    result = subprocess.run([*PIP, 'check'], capture_output=True, text=True)
    complaints = [line for line in result.stdout.splitlines() if not TOLERATED.search(line)]
    if result.returncode and complaints:
        sys.exit(
            'error: pip check finds packages that are not compatible:\n'
            + '\n'.join(complaints)
            + '\nRemedy: make clean setup; if that does not help, correct requirements/lock.txt'
        )


def run(*command: str, shows: str = '$^', env: dict[str, str] | None = None) -> None:
    """Run a command, log what it prints, and show its progress.

    Args:
        command: The program and its arguments.
        shows: A regular expression for the part of its output that tells the progress.
        env: The environment of the command.
    """
    start = shown = time.monotonic()
    line_end = ''
    process = subprocess.Popen(
        command,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors='replace',
        close_fds=False,  # the child holds main's lock too
    )
    with LOG.open('a') as log, process:
        log.write(f'$ {shlex.join(command)}\n')
        for line in process.stdout or ():
            log.write(line)
            match = re.search(shows, line)
            now = time.monotonic()
            # In a terminal one line that changes, elsewhere a new line now and then.
            if match and (sys.stdout.isatty() or now - shown > 15):
                shown = now
                minutes, seconds = divmod(int(now - start), 60)
                text = f'      {minutes}:{seconds:02d} {match[0]}'
                if sys.stdout.isatty():
                    width = shutil.get_terminal_size().columns
                    print(f'\r{text[: width - 1]}\033[K', end='', flush=True)
                    line_end = '\n'
                else:
                    print(text, flush=True)
    print(end=line_end, flush=True)
    if process.returncode:
        tail = LOG.read_text().splitlines()[-30:]
        sys.exit(
            '\n'.join(tail)
            + f'\nerror: {shlex.join(command[:5])} ... failed; its whole output is in {LOG}.'
            ' Remedy: see above, then run the same command again; it continues from here'
        )


if __name__ == '__main__':
    os.chdir(ROOT)
    try:
        main()
    except KeyboardInterrupt:
        sys.exit('\nInterrupted: the same command continues from here')
