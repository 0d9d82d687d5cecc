"""Checks of single arguments, whose messages have one shape: argument, rule, value, remedy."""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Collection
from typing import Any, NoReturn

#: What a number can have to be, as the messages say it.
RANGES = {
    'a number': lambda value: True,
    'above 0': lambda value: 0 < value < math.inf,
    'at least 0': lambda value: 0 <= value < math.inf,
    'in [0, 1]': lambda value: 0 <= value <= 1,
    'in (0, 1]': lambda value: 0 < value <= 1,
    'in [0, 1)': lambda value: 0 <= value < 1,
    'in (0, 255]': lambda value: 0 < value <= 255,
}


def check_number(
    name: str, value: Any, rule: str, note: str = '', remedy: str = '', optional: bool = False
) -> None:
    """Raise a ValueError unless an argument is a number in a range.

    Args:
        name: Name of the argument.
        value: Its value; True and False are no numbers.
        rule: The range, one of `RANGES`.
        note: What the message says behind the name, such as ' of cutout'.
        remedy: What the message says behind the value.
        optional: Whether None is allowed as well.
    """
    if optional and value is None:
        return
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not RANGES[rule](value):
        _refuse(name, value, rule, note, remedy, optional)


def check_integer(
    name: str,
    value: Any,
    least: int = 1,
    note: str = '',
    remedy: str = '',
    optional: bool = False,
) -> None:
    """Raise a ValueError unless an argument is an integer of at least `least`, 0 or 1.

    Integers of NumPy and tensors that hold one count as well. See `check_number` for the others.
    """
    if optional and value is None:
        return
    try:
        is_allowed = not isinstance(value, bool) and operator.index(value) >= least
    except TypeError:
        is_allowed = False
    if not is_allowed:
        rule = 'a positive integer' if least else '0 or a positive integer'
        _refuse(name, value, rule, note, remedy, optional)


def check_choice(name: str, value: Any, choices: Collection[Any], note: str = '') -> None:
    """Raise a ValueError unless an argument is one of several values; see `check_number`."""
    if value not in tuple(choices):
        _refuse(name, value, f'one of {tuple(choices)}', note)


def check_flag(name: str, value: Any) -> None:
    """Raise a ValueError unless an argument is True or False."""
    if not isinstance(value, bool):
        _refuse(name, value, 'True or False')


def _refuse(
    name: str, value: Any, rule: str, note: str = '', remedy: str = '', optional: bool = False
) -> NoReturn:
    rule = f'None or {rule}' if optional else rule
    remedy = f': {remedy}' if remedy else ''
    raise ValueError(f'`{name}`{note} must be {rule}, but got {value!r}{remedy}.')
