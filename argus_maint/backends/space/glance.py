"""How large the task table is and how much of it is empty, for a look every minute.

Unlike ``look`` it reads no page of the table on SQLite, and no index anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import connections
from django_tasks_db.models import DBTaskResult

from argus_maint.backends.space import postgres, sqlite


@dataclass(frozen=True, slots=True)
class Glance:
    """``empty`` is a share of ``bytes``; ``how`` says what it is, ``what`` whose bytes."""

    vendor: str
    what: str
    bytes: int
    empty: float
    how: str


def glance(using: str) -> Glance:
    """The figures of now."""
    connection: Any = connections[using]
    table = DBTaskResult._meta.db_table
    if connection.vendor == "sqlite":
        file = sqlite.file_of(connection)
        share = file.free_pages / max(1, file.page_count)
        return Glance("sqlite", "the file", file.file_bytes, share, "free pages")
    if connection.vendor == "postgresql":
        table_bytes, empty, dead = postgres.emptiness(connection)
        how = "dead rows" if dead > empty else "empty, by its statistics"
        return Glance("postgresql", table, table_bytes, max(empty, dead), how)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT data_length, index_length, data_free FROM information_schema.tables"
            " WHERE table_schema = DATABASE() AND table_name = %s",
            [table],
        )
        data, index, free = (int(each or 0) for each in cursor.fetchone() or (0, 0, 0))
    total = data + index + free
    return Glance("mysql", table, total, free / max(1, total), "free extents")
