"""What the options are called by which a user can follow the advice of a check."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple


class OptionNames(NamedTuple):
    """The options of a tool, as its user types them.

    Attributes:
        data_root: What says where the data lie.
        entries: What precedes words KEY=VALUE that override entries of a config.
    """

    data_root: str = '--data-root'
    entries: str = '--cfg-options'


_NAMES: ContextVar[OptionNames] = ContextVar('option_names')


@contextmanager
def naming_options(names: OptionNames) -> Iterator[None]:
    """Let the messages of the checks in a block of code name these options."""
    token = _NAMES.set(names)
    try:
        yield
    finally:
        _NAMES.reset(token)


def option_names() -> OptionNames:
    """The options that messages name here: those of the tools for one config by default."""
    return _NAMES.get(OptionNames())
