"""The line to the database: noticing that its other end is gone.

A server that loses power, or a firewall that forgets a connection, ends a line without a
word. Whoever waits for an answer on it waits for ever: TCP asks whether the other end is
there after two hours. A worker that writes an outcome holds that outcome in its memory,
so it is better to learn of a dead line than to be ended for waiting.

The probes are made short for our own calls alone. A task's own query keeps the site's
patience: it may be worth waiting for through a gap in the network.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from django.db import connections
from django.db.backends.signals import connection_created

# tcp(7); only Linux has them all.
_NAMES = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
_OPTIONS = [getattr(socket, name) for name in _NAMES if hasattr(socket, name)]
_PROBES = 3


class Line:
    """Keeps an eye on one alias's connection during our own calls."""

    def __init__(self, using: str, seconds: float) -> None:
        """``seconds`` is about how long a dead line may go unnoticed."""
        self.using = using
        idle = max(1, int(seconds / 2))
        every = max(1, int(seconds / 2 / _PROBES))
        self._short = [idle, every, _PROBES, (idle + every * _PROBES) * 1000]
        self._usual: list[int] | None = None  # of the present connection, while ours are set
        self._calling = False
        connection_created.connect(self._opened)

    @contextmanager
    def watched(self) -> Generator[None, None, None]:
        """Notice a dead line soon while this lasts."""
        self._calling = True
        self._shorten()
        try:
            yield
        finally:
            self._calling = False
            if self._usual is not None:
                _exchange(connections[self.using], self._usual)
                self._usual = None

    def _opened(self, connection: Any, **kwargs: Any) -> None:
        if self._calling and connection.alias == self.using:
            self._shorten()

    def _shorten(self) -> None:
        self._usual = _exchange(connections[self.using], self._short)


def _exchange(connection: Any, values: list[int]) -> list[int] | None:
    """Set a connection's options; returns what they were, or None where there is no TCP."""
    if len(_OPTIONS) < len(_NAMES) or connection.vendor == "sqlite":
        return None
    if connection.connection is None:
        return None
    try:
        with socket.socket(fileno=os.dup(connection.connection.fileno())) as line:
            if line.family not in (socket.AF_INET, socket.AF_INET6):
                return None
            line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            before = [line.getsockopt(socket.IPPROTO_TCP, option) for option in _OPTIONS]
            for option, value in zip(_OPTIONS, values, strict=True):
                line.setsockopt(socket.IPPROTO_TCP, option, value)
            return before
    except Exception:  # noqa: BLE001 - a driver without fileno, a line already closed
        return None
