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
    """Keeps an eye on one alias's connection during our own calls.

    It costs some ten microseconds a call, so what a connection was like is read once.
    """

    def __init__(self, using: str, seconds: float) -> None:
        """``seconds`` is about how long a dead line may go unnoticed."""
        self.using = using
        idle = max(1, int(seconds / 2))
        every = max(1, int(seconds / 2 / _PROBES))
        self._short = (idle, every, _PROBES, (idle + every * _PROBES) * 1000)
        self._known: Any = None  # the driver's connection that the next is about
        self._usual: tuple[int, ...] | None = None  # None where there is no TCP
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
            link = connections[self.using].connection
            if link is not None and link is self._known and self._usual is not None:
                _set(link, self._usual)

    def _opened(self, connection: Any, **kwargs: Any) -> None:
        if self._calling and connection.alias == self.using:
            self._shorten()

    def _shorten(self) -> None:
        link = connections[self.using].connection
        if link is not self._known:
            self._known, self._usual = link, _read(link)
        if self._usual is not None:
            _set(link, self._short)


def _read(link: Any) -> tuple[int, ...] | None:
    """What the options of a TCP connection are; None for anything else."""
    if len(_OPTIONS) < len(_NAMES) or not hasattr(link, "fileno"):
        return None
    try:
        with socket.socket(fileno=os.dup(link.fileno())) as line:
            if line.family not in (socket.AF_INET, socket.AF_INET6):
                return None
            line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            return tuple(line.getsockopt(socket.IPPROTO_TCP, option) for option in _OPTIONS)
    except Exception:  # noqa: BLE001 - the driver's: closed already, or without a descriptor
        return None


def _set(link: Any, values: tuple[int, ...]) -> None:
    try:
        # All that the module would otherwise ask the kernel for; the kernel knows better.
        line = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=link.fileno())
    except Exception:  # noqa: BLE001 - the driver's: closed already
        return
    try:
        for option, value in zip(_OPTIONS, values, strict=True):
            line.setsockopt(socket.IPPROTO_TCP, option, value)
    except OSError:
        pass
    finally:
        line.detach()  # it is the driver's
