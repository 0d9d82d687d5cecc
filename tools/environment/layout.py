"""The environments of a checkout: where they lie, and what they are made from."""

from __future__ import annotations

import re
import runpy
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Not imported: the package needs torch.
CACHE = runpy.run_path(str(ROOT / 'mmdet_ols/core/cache.py'))['cache_folder']() or Path('.cache')


@dataclass(frozen=True)
class Environment:
    """A virtual environment, with one family of the hosts at one version of each package."""

    folder: Path
    lock: Path
    #: Compiles CUDA sources for the installed torch, or `None` where that cannot be had.
    cuda_compiler: Path | None

    @property
    def python(self) -> Path:
        return self.folder / 'bin' / 'python'

    @property
    def log(self) -> Path:
        return self.folder / 'setup.log'

    @property
    def stamp(self) -> Path:
        """Says what the environment was made from, and for what mmcv was compiled (`Stamp`)."""
        return self.folder / 'setup-stamp'

    @property
    def pip(self) -> tuple[str, ...]:
        return (str(self.python), '-m', 'pip', '--disable-pip-version-check', '--no-input')

    def pins(self) -> list[str]:
        """The pinned requirements, as pip takes them."""
        lines = self.lock.read_text(encoding='utf-8').splitlines()
        return [line for line in lines if line and not line.startswith('#')]


ENVIRONMENTS = {
    'onedl': Environment(
        ROOT / '.venv',
        ROOT / 'requirements' / 'lock.txt',
        ROOT / 'requirements' / 'cuda.txt',
    ),
    'openmmlab': Environment(
        ROOT / '.venv-openmmlab', ROOT / 'requirements' / 'openmmlab.txt', cuda_compiler=None
    ),
}


def is_host(pin: str) -> bool:
    """Whether a pin is one of the hosts, under the name of either family."""
    return bool(re.match(r'(onedl-)?mm(engine|cv|det|detection|pretrain)==', pin))


def is_mmcv(pin: str) -> bool:
    """Whether a pin is mmcv, which has to be compiled."""
    return bool(re.match(r'(onedl-)?mmcv==', pin))
