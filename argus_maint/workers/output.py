"""Output that never waits for its reader.

A log reader that stands still (a full pipe, a terminal held with Ctrl-S) makes every
writer stand still with it. A supervisor that waits reaps nothing, a keeper that waits
beats no more, and live tasks would be taken for lost. So in these two a line that finds
no room is dropped; how many were is said in front of the next one.

Use: ``with never_waiting(): ...`` in the supervisor, ``may_wait()`` in a worker: what a
task prints waits for its reader as in any other program.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import select
import socket
import stat
import sys
from collections.abc import Callable, Generator
from functools import partial
from typing import Any, TextIO


class Unwaiting(io.TextIOBase):
    """A text stream over another one's descriptor that drops what would have to wait."""

    def __init__(self, stream: TextIO) -> None:
        self.dropped = 0  # lines since the last that went out
        self._torn = False  # the last line went out in part
        self._descriptor = stream.fileno()
        self._mode = os.fstat(self._descriptor).st_mode
        self._own = -1 if stat.S_ISSOCK(self._mode) else self._reopened()

    def _reopened(self) -> int:
        """The same pipe or terminal, opened anew: non-blocking for us alone."""
        with contextlib.suppress(OSError):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY
            return os.open(f"/proc/self/fd/{self._descriptor}", flags)
        return -1

    def write(self, text: str) -> int:
        """Write, or drop, the whole of it."""
        note = f"({self.dropped} lines dropped: nobody read)\n" if self.dropped else ""
        data = ("\n" * self._torn + note + text).encode("utf-8", "backslashreplace")
        try:
            sent = self._send(data)
        except BlockingIOError:
            self.dropped += 1
        else:
            self._torn = sent < len(data)
            self.dropped = int(self._torn)
        return len(text)

    def _send(self, data: bytes) -> int:
        if stat.S_ISSOCK(self._mode):
            with socket.socket(fileno=os.dup(self._descriptor)) as line:
                return line.send(data, socket.MSG_DONTWAIT)
        if self._own >= 0:
            return os.write(self._own, data)
        # The best that is left: another writer may take the room before us.
        if not select.select([], [self._descriptor], [], 0)[1]:
            raise BlockingIOError
        return os.write(self._descriptor, data)

    def flush(self) -> None:
        """Nothing is held back."""

    def fileno(self) -> int:
        return self._descriptor

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        """Close what was opened here; the stream stays open."""
        if self._own >= 0:
            os.close(self._own)
            self._own = -1
        super().close()

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)


_undo: list[Callable[[], object]] = []


@contextlib.contextmanager
def never_waiting() -> Generator[None, None, None]:
    """Within, no line to a pipe, socket or terminal waits: printed or logged."""
    ours: dict[int, Unwaiting] = {}
    for stream, exchange in list(_holders()):
        try:
            descriptor = stream.fileno()
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                continue
            stream.flush()
        except (AttributeError, OSError, ValueError):  # no stream, or none of a descriptor
            continue
        if descriptor not in ours:
            ours[descriptor] = Unwaiting(stream)
            _undo.append(ours[descriptor].close)
        exchange(ours[descriptor])
        _undo.append(partial(exchange, stream))
    try:
        yield
    finally:
        may_wait()


def may_wait() -> None:
    """Give the streams back as they were (a worker, for its tasks)."""
    while _undo:
        _undo.pop()()


def _holders() -> Generator[tuple[Any, Callable[[Any], object]], None, None]:
    """Whatever holds a stream to write to, and how to give it another one."""
    yield sys.stdout, partial(setattr, sys, "stdout")
    yield sys.stderr, partial(setattr, sys, "stderr")
    loggers = [logging.getLogger(), *logging.Logger.manager.loggerDict.values()]
    for handler in {each for logger in loggers for each in getattr(logger, "handlers", ())}:
        if isinstance(handler, logging.StreamHandler):
            yield handler.stream, handler.setStream
