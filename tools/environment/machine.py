"""What a set-up needs of the machine, and what the machine offers it."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from environment.layout import ROOT

DISK_GB = 8


def check_machine(new: bool) -> None:
    """Exit with the remedy if this machine lacks something that a set-up needs.

    Args:
        new: Whether the environment is made from scratch, which takes disk space.
    """
    _check_python()
    _check_compiler()
    free_gb = shutil.disk_usage(ROOT).free / 1e9
    if new and free_gb < DISK_GB:
        sys.exit(
            f'error: an environment takes up to {DISK_GB} GB while it is made, but {ROOT} has only'
            f' {free_gb:.1f} GB free. Remedy: free some space, or clone to another disk'
        )


def _check_python() -> None:
    if sys.version_info[:2] != (3, 11):
        sys.exit(
            f'error: the versions in requirements/ are for Python 3.11, and {sys.executable} is'
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


def _check_compiler() -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, 'works.cpp')
        source.write_text('#include <optional>\nint main() { return *std::optional<int>(0); }\n')
        command = [*cxx(), '-std=c++17', str(source), '-o', str(source.with_suffix(''))]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            sys.exit(
                f'error: the C++ compiler does not compile C++17: {shlex.join(command)}\n'
                f'{getattr(error, "stderr", "") or error}\n'
                'Remedy: install g++ (Debian, Ubuntu: apt install g++), or name another: CXX=...'
            )


def cxx() -> list[str]:
    """Return the C++ compiler with its options: $CXX, or the first one that there is."""
    usual = filter(shutil.which, ('c++', 'g++', 'clang++'))
    return shlex.split(os.environ.get('CXX') or next(usual, 'c++'))


def gpu_signs() -> str:
    """Return what changes when this machine gets a GPU, loses one or gets another driver.

    Asking torch, which decides whether a GPU can be used, takes seconds. This takes none, so that a
    set-up that is up to date notices.
    """
    driver = Path('/proc/driver/nvidia/version')
    version = driver.read_text(errors='replace') if driver.exists() else ''
    devices = [*Path('/dev').glob('nvidia[0-9]*'), *Path('/dev').glob('dxg')]  # dxg: WSL
    return version + ' '.join(sorted(map(str, devices)))
