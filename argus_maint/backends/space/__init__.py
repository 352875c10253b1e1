"""How much space the task table takes on this database, and how much of it is free.

``look(using)`` answers with a ``Space`` from the database's own figures: no look ever
counts the rows of a big table, and none waits for a lock. ``glance(using)`` has two of
them, for a look every minute.

- SQLite (``sqlite``): the file's pages, and the bytes of each table and index from
  ``dbstat`` where SQLite has it and the file is small enough to be read whole.
- PostgreSQL (``postgres``): ``pg_relation_size``, dead rows, an estimate of the waste
  in each index, and transactions that keep dead rows alive.
- MariaDB (``mariadb``): ``information_schema``; what needs more rights is left out.
"""

from __future__ import annotations

from django.db import connections

from argus_maint.backends.space import mariadb, postgres, sqlite
from argus_maint.backends.space.figures import (
    DeadRows,
    IndexSpace,
    LongTransaction,
    Space,
    SqliteFile,
)
from argus_maint.backends.space.glance import Glance, glance

__all__ = [
    "DeadRows",
    "Glance",
    "IndexSpace",
    "LongTransaction",
    "Space",
    "SqliteFile",
    "glance",
    "look",
]

_LOOKS = {"sqlite": sqlite.look, "postgresql": postgres.look, "mysql": mariadb.look}


def look(using: str) -> Space:
    """The space of the task table, now."""
    connection = connections[using]
    try:
        of_vendor = _LOOKS[connection.vendor]
    except KeyError:
        raise NotImplementedError(
            f"Nothing is known of space on {connection.vendor}; SQLite, PostgreSQL and MariaDB are."
        ) from None
    return of_vendor(using)
