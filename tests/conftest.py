"""What every test shares."""

from __future__ import annotations

import os

import pytest
import torch

# Several test processes share the cores.
_WORKERS = int(os.environ.get('PYTEST_XDIST_WORKER_COUNT', 1))
torch.set_num_threads(max(1, (os.cpu_count() or 1) // _WORKERS))


@pytest.fixture(autouse=True)
def seed():
    """The same random numbers in every run and whichever tests are selected."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def loading():
    """No test is left with what another one told the process about loading checkpoints."""
    names = ('TORCH_FORCE_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD')
    for name in names:
        os.environ.pop(name, None)
    yield
    for name in names:
        os.environ.pop(name, None)
