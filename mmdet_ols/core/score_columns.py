"""What every loss and every soft label agree on: how many scores a sample has."""

from __future__ import annotations

from typing import Any

from torch import nn


class ScoreColumns(nn.Module):
    """Base of the losses and of the soft-label state; either may come first among the parents.

    Args:
        num_classes: Number of foreground classes.
        background: Whether the scores have a last column for the background, as MMDetection's
            softmax heads do.
    """

    def __init__(self, num_classes: int, background: bool = False, **unknown: Any) -> None:
        super().__init__()
        if unknown:
            raise TypeError(f'{type(self).__name__} has no argument `{next(iter(unknown))}`.')
        if not isinstance(num_classes, int) or num_classes < 1:
            raise ValueError(f'`num_classes` must be a positive integer, but got {num_classes!r}.')
        self.num_classes = num_classes
        self.background = background
        self.num_columns = num_classes + int(background)
