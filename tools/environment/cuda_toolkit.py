"""A CUDA toolkit for compiling torch extensions, put together from wheels where none is named.

torch brings CUDA's libraries and headers along, but not the compiler. NVIDIA publishes that as
wheels, which pip puts into the same folder. Two things are missing there for torch's build: the
folder is expected to have `lib64`, with libraries that the linker finds without a version number.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from environment.layout import Environment
from environment.processes import run


def cuda_home(environment: Environment, version: str) -> Path | None:
    """Return the folder of a toolkit for torch's version of CUDA, or `None` if there is none.

    `CUDA_HOME` comes first, then the pinned wheels, since an installed toolkit may lack parts.

    Args:
        environment: Where torch is installed; wheels are added to it.
        version: The version of CUDA that torch was compiled with, such as '13.0'.
    """
    named = os.environ.get('CUDA_HOME')
    if named and has_toolkit(Path(named), version):
        return Path(named)
    if environment.cuda_compiler:
        requirement = ('--requirement', str(environment.cuda_compiler))
        run(*environment.pip, 'install', '--no-deps', *requirement, log=environment.log)
        return put_together(environment.folder, version)
    nvcc = shutil.which('nvcc')
    homes = [Path(f'/usr/local/cuda-{version}'), Path('/usr/local/cuda')]
    homes += [Path(nvcc).resolve().parents[1]] if nvcc else []
    return next((home for home in homes if has_toolkit(home, version)), None)


def has_toolkit(home: Path, version: str) -> bool:
    """Whether a folder holds a CUDA toolkit of this version, not only a script that calls it."""
    header = home / 'include' / 'cuda_runtime_api.h'
    return header.exists() and _version_of(home / 'bin' / 'nvcc') == version


def _version_of(nvcc: Path) -> str:
    try:
        result = subprocess.run([nvcc, '--version'], capture_output=True, text=True)
    except OSError:
        return ''
    match = re.search(r'release (\d+\.\d+)', result.stdout)
    return match[1] if match else ''


def put_together(venv: Path, version: str) -> Path:
    """Arrange the wheels of a virtual environment as the toolkit that torch's build expects.

    Args:
        venv: The virtual environment's folder. The toolkit, links only, becomes its folder `cuda`.
        version: The version of CUDA, such as '13.0'.
    """
    (wheels,) = venv.glob(f'lib/python*/site-packages/nvidia/cu{version.split(".")[0]}')
    home = venv / 'cuda'
    shutil.rmtree(home, ignore_errors=True)
    libraries = home / 'lib64'
    libraries.mkdir(parents=True)
    for name in ('bin', 'include', 'nvvm'):
        (home / name).symlink_to(wheels.resolve() / name)
    for library in (wheels / 'lib').iterdir():
        name = re.sub(r'\.so\..*', '.so', library.name)
        if not (libraries / name).exists():
            (libraries / name).symlink_to(library.resolve())
    return home
