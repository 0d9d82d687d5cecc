"""The parameters of the tests that all losses share, and a watch on the fused form."""

from __future__ import annotations

import pytest
from test_losses.harness import LossContract, cases, cases_to_compile

from mmdet_ols.core import fused_cross_entropy
from mmdet_ols.losses import ols_loss


def pytest_generate_tests(metafunc):
    cls, names = metafunc.cls, metafunc.fixturenames
    if not (isinstance(cls, type) and issubclass(cls, LossContract)):
        return
    if 'method' in names:
        metafunc.parametrize(('method', 'form'), cases(cls.methods, metafunc.function))
    if 'neutral' in names:
        metafunc.parametrize('neutral', cls.neutral.values(), ids=cls.neutral)
    if 'neutral_sigmoid' in names:
        neutral = cls.neutral if cls.neutral_under_sigmoid else {}
        metafunc.parametrize('neutral_sigmoid', neutral.values(), ids=neutral)
    if 'compiled' in names:
        methods = {} if cls.compiled_elsewhere else cls.methods
        metafunc.parametrize('compiled', cases_to_compile(methods))


@pytest.fixture
def fused(monkeypatch):
    """The calls of the fused form that gave a loss."""
    calls = []

    def spy(*args):
        loss = fused_cross_entropy(*args)
        if loss is not None:
            calls.append(args)
        return loss

    monkeypatch.setattr(ols_loss, 'fused_cross_entropy', spy)
    return calls
