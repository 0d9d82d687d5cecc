"""Two processes learn the weights of samples as one does."""

import pytest
from torch.testing import assert_close
from toy_meta import LOOPS, train_on_a_part


@pytest.mark.dist
@pytest.mark.parametrize('loop', LOOPS)
def test_two_processes_train_what_one_does(two_ranks, tmp_path, loop):
    alone = train_on_a_part(None, folder=tmp_path, loop=loop)
    both = two_ranks(train_on_a_part, [None, None], folder=tmp_path, loop=loop)
    for together in both:
        # Weights are on a scale of 1, and normalised inner products whose float32 terms cancel.
        assert_close(together, alone, rtol=1e-4, atol=1e-5, equal_nan=True)
