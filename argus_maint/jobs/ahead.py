"""Reading the next batches for the archive while the server deletes the present one.

On PostgreSQL, at full duty: what it takes to make JSON of a row is several times what the
row's DELETE takes (4.3 and 0.4 microseconds where ``benchmarks.prune`` was measured), and a
session of PostgreSQL uses one core. So ``READERS`` sessions of their own read and compress.
They lock nothing, and what they read may be out of date when its turn comes: the DELETE
tells (see ``jobs.prune``), and then all that was read ahead is dropped.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from copy import copy
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import Any

from django.db import connections

from argus_maint.backends.archive_rows import Part, at_once
from argus_maint.backends.walk import Condition, Place, Walk
from argus_maint.database import TRANSIENT, own_session

READERS = 2


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows up to an edge (None: to the end), at most so many; and what was read of them."""

    edge: Place | None
    size: int
    pieces: list[Condition]
    parts: list[Part] | None = None


def begin(using: str) -> Ahead | None:
    """None where it is of no use, or the server has no sessions left."""
    connection = connections[using]
    if connection.vendor != "postgresql" or connection.in_atomic_block:  # others see less
        return None
    try:
        return Ahead(using)
    except TRANSIENT:
        return None


class Ahead:
    """Batches in the order of a walk."""

    def __init__(self, using: str) -> None:
        self._walk: Walk | None = None
        self._waiting: deque[tuple[Place | None, Batch, Future[list[Part]]]] = deque()
        self._sessions: SimpleQueue[Any] = SimpleQueue()
        with ExitStack() as stack:
            for _ in range(READERS):
                session = stack.enter_context(own_session(using))
                session.inc_thread_sharing()
                self._sessions.put(session)
            self._pool = stack.enter_context(ThreadPoolExecutor(READERS))
            self._stack = stack.pop_all()

    def take(self, walk: Walk, size: int) -> Batch:
        """The batch behind ``walk.after``; those behind it are begun, of this size."""
        if not self._goes_on(walk):
            self._drop()
            self._walk, self._scout, self._more = walk, copy(walk), True
        while self._more and len(self._waiting) <= READERS:
            after, edge = self._scout.after, self._scout.edge(size)
            pieces = self._scout.batch(edge)
            reading = self._pool.submit(self._read, pieces)
            self._waiting.append((after, Batch(edge, size, pieces), reading))
            self._more, self._scout.after = edge is not None, edge
        _, batch, reading = self._waiting.popleft()
        return replace(batch, parts=reading.result())

    def _goes_on(self, walk: Walk) -> bool:
        """Whether what was taken last has gone, or else it is to be read again."""
        return self._walk is walk and bool(self._waiting) and self._waiting[0][0] == walk.after

    def _drop(self) -> None:
        for *_, reading in self._waiting:
            reading.cancel()
        self._waiting.clear()

    def close(self) -> None:
        """End the sessions; waits for what is being read."""
        self._drop()
        self._stack.close()

    def _read(self, pieces: list[Condition]) -> list[Part]:
        session = self._sessions.get()
        try:
            return at_once(session, pieces)
        except TRANSIENT:
            session.close()  # the next one to use it connects anew
            raise
        finally:
            self._sessions.put(session)
