"""What every loss and every soft label agree on: how many scores a sample has."""

from __future__ import annotations

import operator


def count_columns(num_classes: int, background: bool) -> int:
    """Return C, the number of score columns: `num_classes`, plus one with a background.

    Args:
        num_classes: Number of foreground classes.
        background: Whether the scores have a last column for the background, as MMDetection's
            softmax heads do.

    Raises:
        ValueError: `num_classes` is no positive integer.
    """
    try:
        number = operator.index(num_classes)  # also of NumPy and of a tensor with one integer
    except TypeError:
        number = 0
    if number < 1:
        raise ValueError(f'`num_classes` must be a positive integer, but got {num_classes!r}.')
    return number + 1 if background else number
