"""What the tests of checks share."""

import pytest
from toy_voc import make_voc

from mmdet_ols.checks import losses, problems


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """No survey of an earlier test is used again."""
    monkeypatch.setenv('MMDET_OLS_CACHE', str(tmp_path_factory.mktemp('cache')))


@pytest.fixture
def root(tmp_path):
    """Three images, with cats, dogs and foxes, in VOC's layout."""
    return make_voc(tmp_path)


@pytest.fixture
def said(monkeypatch):
    """What the checks print."""
    messages = []
    monkeypatch.setattr(losses, 'print_log', lambda message, **kwargs: messages.append(message))
    for module in (problems, losses):
        monkeypatch.setattr(module, 'warn', messages.append)
    return messages
