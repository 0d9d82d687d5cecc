"""What every loss and every soft label agree on: how many scores a sample has."""

from __future__ import annotations

import operator

from mmdet_ols.core.arguments import check_integer


def count_columns(num_classes: int, background: bool) -> int:
    """Return C, the number of score columns: `num_classes`, plus one with a background.

    Args:
        num_classes: Number of foreground classes.
        background: Whether the scores have a last column for the background, as MMDetection's
            softmax heads do.

    Raises:
        ValueError: `num_classes` is no positive integer.
    """
    check_integer('num_classes', num_classes)
    number = operator.index(num_classes)
    return number + 1 if background else number
