"""What every test shares."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
import torch

# Where there is no GPU, Triton's kernels run on the CPU. It has to know before it is imported.
if not torch.cuda.is_available():
    os.environ.setdefault('TRITON_INTERPRET', '1')

# Several test processes share the cores.
_WORKERS = int(os.environ.get('PYTEST_XDIST_WORKER_COUNT', 1))
torch.set_num_threads(max(1, (os.cpu_count() or 1) // _WORKERS))

#: What `make test-fast` leaves out: files and folders below `tests` that train networks, start
#: processes, build packages or compile. Single slow tests of other files are marked where they are.
SLOW = (
    'test_analysis/test_annotations.py',
    'test_benchmarks.py',
    'test_benchmarks_of_methods.py',
    'test_classification_configs.py',
    'test_cli/',
    'test_configs.py',
    'test_dist/',
    'test_distributed_training.py',
    'test_engine/test_hooks/test_adversarial_error_hook.py',
    'test_engine/test_hooks/test_sample_state_hook.py',
    'test_engine/test_meta_loops.py',
    'test_examples/test_accelerate_loop.py',
    'test_examples/test_lightning_loop.py',
    'test_examples/test_timm_loop.py',
    'test_examples/test_transformers_trainer.py',
    'test_experiments/test_executor.py',
    'test_heads.py',
    'test_label_mistakes.py',
    'test_losses/test_digits.py',
    'test_mmyolo.py',
    'test_models/',
    'test_packaging.py',
    'test_plain_comparison.py',
    'test_reproduction/test_smoke.py',
    'test_self_distillation_training.py',
    'test_slurm.py',
)


def is_in_slow_file(item):
    return item.path.relative_to(Path(__file__).parent).as_posix().startswith(SLOW)


def pytest_collection_modifyitems(items):
    for item in filter(is_in_slow_file, items):
        item.add_marker(pytest.mark.slow)
    # The slow files come first, so that none of them keeps a single process busy at the end.
    items.sort(key=is_in_slow_file, reverse=True)


def pytest_collection_finish():
    """Spare what was imported from garbage collections, which MMEngine's data sets start."""
    gc.freeze()


@pytest.fixture(scope='session', autouse=True)
def subsets():
    """As in the tools: MMEngine's defect would fail a test in which an address is used again."""
    from mmdet_ols.datasets.host_subsets import mend_subsets

    mend_subsets()


@pytest.fixture(autouse=True)
def seed():
    """The same random numbers in every run and whichever tests are selected."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def loading():
    """Restore the process's rules for loading checkpoints after each test."""
    names = ('TORCH_FORCE_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD')
    for name in names:
        os.environ.pop(name, None)
    yield
    for name in names:
        os.environ.pop(name, None)
