"""Keeping the log to ourselves while something is only tried out."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.logging import MMLogger


@contextmanager
def no_logging() -> Iterator[None]:
    """Let a block of code log nothing, neither through Python's loggers nor through MMEngine's."""
    before = logging.root.manager.disable
    _disable(logging.CRITICAL)
    try:
        yield
    finally:
        _disable(before)


def _disable(level: int) -> None:
    """Disable logging up to a level; MMEngine's loggers notice once one of them sets its own."""
    logging.disable(level)
    for logger in list(MMLogger._instance_dict.values()):
        logger.setLevel(logger.level)
