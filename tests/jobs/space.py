"""What the tests of storage share: many finished rows, a file of its own mode, sessions."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.db import connection
from django.utils import timezone
from django_tasks_db.models import DBTaskResult, get_date_max

from argus_maint.database import own_session

MIB = 1024**2


def fill(number: int, *, text: str = "x" * 300, age: float = 60) -> None:
    """So many SUCCESSFUL rows, which finished ``age`` seconds ago."""
    moment = timezone.now() - timedelta(seconds=age)
    for start in range(0, number, 2000):
        DBTaskResult.objects.bulk_create(
            DBTaskResult(
                id=uuid.uuid4(),
                status="SUCCESSFUL",
                args_kwargs={"args": [text], "kwargs": {}},
                task_path="tests.tasks.add",
                queue_name="default",
                backend_name="default",
                run_after=get_date_max(),
                worker_ids=["w"],
                started_at=moment,
                finished_at=moment,
                exception_class_path="",
                traceback="",
            )
            for _ in range(start, min(start + 2000, number))
        )


def execute(sql: str, *values: Any) -> Any:
    """Run a statement; returns its rows, if it has any."""
    with connection.cursor() as cursor:
        cursor.execute(sql, values or None)
        return cursor.fetchall() if cursor.description else None


def analyze() -> None:
    """Bring a server's own figures up to date now; SQLite has no such delay."""
    if connection.vendor != "sqlite":
        table = connection.ops.quote_name(DBTaskResult._meta.db_table)
        execute(f"ANALYZE {'TABLE' if connection.vendor == 'mysql' else ''} {table}")


@contextlib.contextmanager
def auto_vacuum(mode: int) -> Iterator[Path]:
    """The test's SQLite file in this mode: 0 is NONE, 2 INCREMENTAL. Put back at the end."""
    try:
        execute(f"PRAGMA auto_vacuum = {mode}")
        execute("VACUUM")
        execute("PRAGMA wal_checkpoint(TRUNCATE)")
        yield Path(str(connection.settings_dict["NAME"]))
    finally:
        DBTaskResult.objects.all().delete()
        execute("PRAGMA auto_vacuum = 0")
        execute("VACUUM")


@contextlib.contextmanager
def open_transaction(sql: str) -> Iterator[int]:
    """Another session in a transaction that has run ``sql``; gives its pid."""
    with own_session("default") as session, session.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(sql)
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
        try:
            yield pid
        finally:
            cursor.execute("ROLLBACK")
