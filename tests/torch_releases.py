"""What differs between the releases of torch that the tests run on."""

from __future__ import annotations

import pytest
import torch

RELEASE = torch.torch_version.TorchVersion(torch.__version__)
IS_OLDEST = RELEASE < '2.2'
#: torch 2.1's compiler breaks a graph at `type(tensor)` and at the property of a named tuple. What
#: is compiled is right, but in parts.
WHOLE_GRAPHS = not IS_OLDEST
#: torch 2.5's compiler makes graphs for more of the sizes that it sees than later ones do.
FEW_GRAPHS = RELEASE >= '2.6'
#: Up to torch 2.5 the threads of gloo have no names by which they could be counted.
NAMED_THREADS = RELEASE >= '2.6'

needs_whole_graphs = pytest.mark.skipif(
    not WHOLE_GRAPHS, reason='between the parts of a broken graph, torch 2.1 runs as ever'
)
needs_fake_devices = pytest.mark.skipif(
    RELEASE < '2.6', reason='up to torch 2.5, fake tensors need the device for some operations'
)
