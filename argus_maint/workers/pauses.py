"""Paused queues and drained workers: which pauses hold now, as a claim asks it.

A claim asks in its own statement, so one that begins after the commit of a pause takes
nothing of that queue. ``until`` is judged by the database's clock; a pause that is past it
holds no more, whether or not anybody has removed its row.
"""

from __future__ import annotations

from typing import Any

from django.db.models import BooleanField, F, Func, Q, QuerySet

from argus_maint.dbtime import DbNow
from argus_maint.models import Pause


def holding(using: str) -> QuerySet[Pause]:
    """Pauses that hold now."""
    return Pause.objects.using(using).filter(Q(until=None) | Q(until__gt=DbNow()))


def live(using: str) -> list[Pause]:
    """Pauses that hold now: queues first, then drained workers, each by name."""
    return list(holding(using).order_by("worker", "backend_name", "queue_name"))


class MayBeTaken(Func):
    """A condition on tasks of a backend: the queue is not paused, nor the worker drained.

    ``worker`` is a supervisor's name. It is written as SQL, for each claim asks it: what the
    ORM needs to put the same together costs more than the database's answer. Neither
    subquery depends on the row, so both are worked out once, however many rows are passed over.

    A name is compared letter by letter. On MariaDB that has to be said, and it must be: the two
    tables need not have the same collation, and without a word the server refuses to compare.
    """

    output_field = BooleanField()

    def __init__(self, backend_name: str, worker: str) -> None:
        super().__init__(F("queue_name"))
        self.backend_name, self.worker = backend_name, worker

    def as_sql(self, compiler: Any, connection: Any, *args: Any, **context: Any) -> Any:
        """Two conditions on one small table."""
        quote = connection.ops.quote_name
        (column,) = self.get_source_expressions()
        queue, _ = compiler.compile(column)
        if connection.vendor == "mysql":
            queue = f"CONVERT({queue} USING utf8mb4) COLLATE utf8mb4_bin"
        now, _ = compiler.compile(DbNow())
        until = quote("until")
        rows = f"FROM {quote(Pause._meta.db_table)} WHERE ({until} IS NULL OR {until} > {now})"
        sql = f"{queue} NOT IN (SELECT queue_name {rows} AND backend_name = %s AND worker = '')"
        if not self.worker:
            return f"({sql})", [self.backend_name]
        drained = f"SELECT 1 {rows} AND worker = %s"
        return f"({sql} AND NOT EXISTS ({drained}))", [self.backend_name, self.worker]
