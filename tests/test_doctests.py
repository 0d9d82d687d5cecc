"""The examples in docstrings give what they say.

Not pytest's own `--doctest-modules`: it would import the helpers of the tests a second time,
and what they register with MMEngine can be registered only once.
"""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / 'mmdet_ols'
WITH_EXAMPLES = [path for path in sorted(PACKAGE.rglob('*.py')) if '>>> ' in path.read_text()]
MODULES = ['.'.join(p.relative_to(PACKAGE.parent).with_suffix('').parts) for p in WITH_EXAMPLES]


@pytest.mark.parametrize('module', MODULES)
def test_examples(module):
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    failed, attempted = doctest.testmod(importlib.import_module(module), optionflags=options)
    assert attempted > 0
    assert failed == 0
