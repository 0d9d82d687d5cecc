"""Forward passes that must not teach: trial passes, and those that are computed a second time."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator

import torch
import torch.utils.checkpoint

from mmdet_ols.core.compat import is_compiling


class _Trials(threading.local):
    """How many `no_teaching` blocks this thread is in."""

    depth = 0


_TRIALS = _Trials()
# Over all threads. `torch.compile` recompiles when a global number changes, but would take what
# a thread holds for a constant.
_open_blocks = 0
_lock = threading.Lock()


@contextlib.contextmanager
def no_teaching() -> Iterator[None]:
    """Compute losses in this block without learning anything from their batches.

    For forward passes that are no training step: the second pass of SAM, a pass that measures an
    attack, a trial of a learning rate. Values and gradients are those of a training step. Blocks
    may be nested, and hold for the thread that opens them; a loss that is part of a graph of
    `torch.compile` learns nothing in other threads either while one is open.

    Example:
        >>> from mmdet_ols import OLSLoss
        >>> criterion = OLSLoss(num_classes=2)
        >>> logits, label = torch.eye(2, requires_grad=True), torch.tensor([0, 1])
        >>> with no_teaching():
        ...     criterion(logits, label).backward()
        >>> criterion.sample_count
        tensor([0., 0.])
    """
    _count(1)
    try:
        yield
    finally:
        _count(-1)


def _count(change: int) -> None:
    global _open_blocks
    _TRIALS.depth += change
    with _lock:
        _open_blocks += change


def teaching_allowed() -> bool:
    """Whether a batch that is computed now may be learned from."""
    if is_compiling():
        return _open_blocks == 0
    if _TRIALS.depth:
        return False
    if torch._C._current_graph_task_id() == -1:  # not within a backward pass
        return True
    # A GPU's backward passes run in threads of their own, which no block is open in.
    return _open_blocks == 0 and not _is_recomputed()


def _is_recomputed() -> bool:
    """Whether activation checkpointing runs a forward pass a second time, which taught already.

    The variant of `torch.utils.checkpoint` with `use_reentrant=False` does so where a saved tensor
    is asked for, which shows in the stack however deep checkpoints are nested. The other variant
    computes the first pass without a gradient, in which nothing is learned.
    """
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        code = frame.f_code
        if code.co_name == 'unpack_hook' and code.co_filename == torch.utils.checkpoint.__file__:
            return True
    return False
