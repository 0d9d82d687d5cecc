"""What differs between the releases of torch that the tests run on."""

from __future__ import annotations

import pytest
import torch

IS_OLDEST = torch.__version__.startswith('2.1.')
#: torch 2.1's compiler breaks a graph at `type(tensor)`. What is compiled is right, but in parts.
WHOLE_GRAPHS = not IS_OLDEST
needs_whole_graphs = pytest.mark.skipif(
    not WHOLE_GRAPHS, reason='between the parts of a broken graph, torch 2.1 runs as ever'
)
needs_fake_devices = pytest.mark.skipif(
    IS_OLDEST, reason='fake tensors of torch 2.1 need the device, and fetch what was made of lists'
)
