"""Waiting for a server, but not for ever."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

#: Seconds without an answer; by default Python waits for ever.
SERVER_TIMEOUT = 30


@contextmanager
def server_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
