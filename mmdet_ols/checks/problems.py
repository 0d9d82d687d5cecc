"""What checks have to say: what cannot be right, and what may be wrong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from mmdet_ols.checks.logs import warn

#: So many names are listed in a message.
MOST = 10


@dataclass
class Problems:
    """Errors and warnings in whole sentences.

    Attributes:
        errors: What cannot be right.
        warnings: What may be wrong, with counts.
    """

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def __iadd__(self, other: Problems) -> Problems:
        self.errors += other.errors
        self.warnings += other.warnings
        return self

    def report(self, strict: bool = False) -> None:
        """Log the warnings, and raise what cannot be right; see `raise_errors`."""
        if not strict:
            for warning in self.warnings:
                warn(warning)
        self.raise_errors(strict)

    def raise_errors(self, strict: bool = False) -> None:
        """Raise what cannot be right.

        Args:
            strict: Whether warnings are errors, too.

        Raises:
            ValueError: There are errors; the message holds all of them.
        """
        errors = self.errors
        if strict and self.warnings:
            errors = errors + self.warnings + ['Correct this, or leave --strict out.']
        if errors:
            raise ValueError('\n'.join(errors))


def listed(names: Iterable[object], at_most: int = MOST) -> str:
    """The first names of many, with commas between, and how many more there are."""
    shown = [str(name) for name in names]
    more = f' and {len(shown) - at_most} more' if len(shown) > at_most else ''
    return ', '.join(shown[:at_most]) + more


def counted(counts: Iterable[tuple[str, int]]) -> str:
    """The first names of many, each with its count."""
    return listed(f'{name} ({count})' for name, count in counts)
