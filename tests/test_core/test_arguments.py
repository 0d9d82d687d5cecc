"""Checks of arguments: what is allowed, and what the messages say."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch

from mmdet_ols import OLSLoss
from mmdet_ols.core.arguments import (
    RANGES,
    check_choice,
    check_flag,
    check_integer,
    check_number,
)

#: Of each range, numbers inside and outside, on both sides of its ends.
NUMBERS = {
    'a number': ([-1, 0.5, math.inf], []),
    'above 0': ([1e-9, 3], [0, -1e-9, math.inf, math.nan]),
    'at least 0': ([0, 0.0, 5], [-1e-9, math.inf, math.nan]),
    'in [0, 1]': ([0, 0.3, 1], [-1e-9, 1.001, math.nan]),
    'in (0, 1]': ([1e-9, 1], [0, 1.001, math.nan]),
    'in [0, 1)': ([0, 0.999], [1, -1e-9, math.nan]),
    'in (0, 255]': ([1e-9, 255], [0, 255.5, math.nan]),
}


@pytest.mark.parametrize('rule', RANGES)
def test_numbers_in_a_range(rule):
    allowed, refused = NUMBERS[rule]
    for value in [*allowed, *map(np.float64, allowed)]:
        check_number('share', value, rule)
    for value in [*refused, True, '0.5', None, [0.5], torch.tensor(0.5)]:
        message = re.escape(f'`share` of cutout must be {rule}, but got {value!r}: halve it.')
        with pytest.raises(ValueError, match=f'^{message}$'):
            check_number('share', value, rule, ' of cutout', 'halve it')


def test_integers():
    for value in (1, 7, np.int64(3), torch.tensor(2)):
        check_integer('size', value)
    check_integer('size', 0, least=0)
    for value in (0, -1, 1.0, True, '3', None):
        with pytest.raises(ValueError, match=rf'^`size` must be a positive integer, .*{value!r}'):
            check_integer('size', value)
    with pytest.raises(ValueError, match=r'^`size`, .*, must be 0 or a positive integer, .* -1\.$'):
        check_integer('size', -1, least=0, note=', in pixels,')


def test_none_is_allowed_where_it_is_optional():
    check_number('share', None, 'in [0, 1]', optional=True)
    check_integer('size', None, optional=True)
    with pytest.raises(ValueError, match=r'^`share` must be None or in \[0, 1\], but got 2\.$'):
        check_number('share', 2, 'in [0, 1]', optional=True)
    with pytest.raises(ValueError, match=r'^`size` must be None or a positive integer, .* 0\.$'):
        check_integer('size', 0, optional=True)


def test_choices_and_flags():
    check_choice('form', 'early', dict(stable=1, early=2))
    check_flag('detach', False)
    with pytest.raises(ValueError, match=r"^`form` must be one of \('a', 'b'\), but got \['a'\]"):
        check_choice('form', ['a'], dict(a=1, b=2))
    with pytest.raises(ValueError, match=r'^`detach` must be True or False, but got 1\.$'):
        check_flag('detach', 1)


@pytest.mark.parametrize('reduction', ['average', '', None])
def test_unknown_reductions_are_refused(reduction):
    rule = r"must be one of \('none', 'mean', 'sum'\), but got"
    with pytest.raises(ValueError, match=f'^`reduction` {rule} {reduction!r}'):
        OLSLoss(3, reduction=reduction)
    if reduction is not None:
        with pytest.raises(ValueError, match=f'^`reduction_override` {rule} {reduction!r}'):
            OLSLoss(3)(torch.zeros(1, 3), torch.tensor([0]), reduction_override=reduction)
