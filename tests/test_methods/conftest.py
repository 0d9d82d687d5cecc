"""What the tests of the methods share."""

from __future__ import annotations

import logging

import pytest


@pytest.fixture
def said(monkeypatch):
    """The messages that users see in the log."""
    messages = []

    def print_log(message, logger=None, level=logging.INFO):
        if level >= logging.INFO:
            messages.append(message)

    monkeypatch.setattr('mmengine.logging.print_log', print_log)
    return messages
