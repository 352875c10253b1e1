"""SQLite's write-ahead log while much is deleted.

Whoever commits when the log is longer than 1,000 pages copies it back into the database
file. A prune changes an index page for nearly every row, so without care each of its batches
would copy a thousand pages as part of its commit, or leave that to the next enqueue. Here the
pruner copies the log back itself, apart from its batches, when nobody waits for it: after
every batch where it rests between batches, and seldom at full duty, where a page that is
changed a hundred times is then copied once. Measured over 2 million rows at full duty: copying
as part of each commit took more than twice the time of all the rest.

The page cache is made larger meanwhile, by a fixed and small size. Both settings are the
connection's own, and are put back. Elsewhere than on SQLite nothing happens.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from django.db import Error, connections

CACHE = 16_000  # KiB; the default is 2,000
SELDOM = 150_000  # rows at full duty; the log grows by about 5 KB a row


class Wal:
    """Looks after the log of one alias, from ``prepare`` to ``put_back``."""

    def __init__(self, using: str, duty: float) -> None:
        self.using = using
        self.every = SELDOM if duty >= 1 else 1
        self.rows = 0
        self._link: Any = None  # the driver's connection that the settings were made on
        self._before: tuple[int, int] = (0, 0)

    def prepare(self) -> None:
        """Before a batch: the connection may be a new one."""
        connection = connections[self.using]
        if connection.vendor != "sqlite":
            return
        connection.ensure_connection()
        if connection.connection is self._link:
            return
        self._link = connection.connection
        self._before = (self._pragma("wal_autocheckpoint"), self._pragma("cache_size"))
        self._pragma("wal_autocheckpoint = 0")
        self._pragma(f"cache_size = -{CACHE}")

    def deleted(self, rows: int) -> None:
        """After a batch of so many rows, and outside its transaction."""
        self.rows += rows
        if self._link is not None and self.rows >= self.every:
            self._copy()

    def put_back(self) -> None:
        """As it was, with the log copied."""
        if self._link is None or connections[self.using].connection is not self._link:
            return
        with suppress(Error):
            self._copy()
            self._pragma(f"wal_autocheckpoint = {self._before[0]}")
            self._pragma(f"cache_size = {self._before[1]}")

    def _copy(self) -> None:
        self._pragma("wal_checkpoint(PASSIVE)")  # waits for nobody; without a WAL it does nothing
        self.rows = 0

    def _pragma(self, text: str) -> int:
        with connections[self.using].cursor() as cursor:
            cursor.execute(f"PRAGMA {text}")
            row = cursor.fetchone()
        return int(row[0]) if row else 0
