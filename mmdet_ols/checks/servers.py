"""Giving up on a server that does not answer."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

#: Seconds without an answer; by default Python waits without end.
SERVER_TIMEOUT = 30


@contextmanager
def server_timeout(seconds: float) -> Iterator[None]:
    """Let connections that are opened in a block of code fail after this time without an answer."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
