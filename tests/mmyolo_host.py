"""MMYOLO, which `make test-mmyolo` installs, with the mmcv of either environment."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

needs_mmyolo = pytest.mark.skipif(
    find_spec('mmyolo') is None, reason='needs MMYOLO: make test-mmyolo'
)


def mmyolo_configs() -> Path:
    """Where its configs lie. Its last release refuses mmcv from 2.1 on, but works with it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('mmcv.__version__', '2.0.1')
        package = import_module('mmyolo')
    return Path(package.__file__).parent / '.mim/configs'
