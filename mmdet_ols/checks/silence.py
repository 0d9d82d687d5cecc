"""Keeping the log to ourselves while something is only tried out."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.logging import MMLogger


@contextmanager
def no_logging() -> Iterator[None]:
    """Let a block of code log nothing, neither through Python's loggers nor through MMEngine's.

    `logging.disable` alone does not reach MMEngine's, which are not managed by Python: each
    remembers which levels were enabled until the level of one of them is set.
    """
    before = logging.root.manager.disable
    levels = {name: logger.level for name, logger in MMLogger._instance_dict.items()}
    logging.disable()
    _set_levels(dict.fromkeys(levels, logging.CRITICAL + 1))
    try:
        yield
    finally:
        logging.disable(before)
        _set_levels(levels)


def _set_levels(levels: dict[str, int]) -> None:
    """Set the levels of MMEngine's loggers, those that are not named to what they have."""
    for name, logger in MMLogger._instance_dict.items():
        logger.setLevel(levels.get(name, logger.level))
