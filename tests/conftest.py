"""What every test shares."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def seed():
    """The same random numbers in every run and whichever tests are selected."""
    torch.manual_seed(0)
