"""What the tests of checks share."""

import pytest
from toy_voc import make_voc

from mmdet_ols.checks import detection_data, losses


@pytest.fixture
def root(tmp_path):
    """Three images, with cats, dogs and foxes, in VOC's layout."""
    return make_voc(tmp_path)


@pytest.fixture
def said(monkeypatch):
    """What the checks print."""
    messages = []
    for module in (detection_data, losses):
        monkeypatch.setattr(module, 'print_log', lambda message, **kwargs: messages.append(message))
    return messages
