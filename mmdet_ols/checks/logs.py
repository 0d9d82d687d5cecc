"""Warnings in the log of a run."""

from __future__ import annotations

import logging

from mmengine.logging import print_log


def warn(text: str) -> None:
    """Log a warning where the run's other messages go."""
    print_log(text, logger='current', level=logging.WARNING)
