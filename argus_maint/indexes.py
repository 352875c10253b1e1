"""Our index on the task table: which tasks are RUNNING.

Without it every rescue pass and every status screen scans the whole table. It is
partial where the database can be (SQLite, PostgreSQL); MariaDB gets it on
``status`` as well, over the whole table.

PostgreSQL builds it CONCURRENTLY; an invalid leftover of a build that was
interrupted is dropped first. SQLite loses it when the other app alters its table
(Django makes a new table and copies only the indexes it knows), so ``restore``
runs after every ``migrate``.
"""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.db import connections, router
from django.db.migrations.recorder import MigrationRecorder

NAME = "argus_maint_running_idx"
MIGRATION = ("argus_maint", "0002_running_index")


def _table() -> str:
    return apps.get_model("django_tasks_database", "DBTaskResult")._meta.db_table


def _exists(connection: Any, cursor: Any) -> bool:
    return NAME in connection.introspection.get_constraints(cursor, _table())


def _owns_task_table(using: str) -> bool:
    model = apps.get_model("django_tasks_database", "DBTaskResult")
    return router.allow_migrate_model(using, model)


def create(using: str) -> None:
    """Create the index where it is missing; safe to run again at any time."""
    if not _owns_task_table(using):
        return
    connection = connections[using]
    quote = connection.ops.quote_name
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT NOT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)",
                [quote(NAME)],
            )
            if cursor.fetchone() == (True,):
                cursor.execute(f"DROP INDEX CONCURRENTLY {quote(NAME)}")
        if _exists(connection, cursor):
            return
        concurrently = "CONCURRENTLY" if connection.vendor == "postgresql" else ""
        partial = connection.features.supports_partial_indexes
        # status leads although it is the same in every row of the partial index: without
        # it SQLite goes through the whole table by another index to spare itself a sort.
        tail = "(status, started_at)" + (" WHERE status = 'RUNNING'" if partial else "")
        cursor.execute(f"CREATE INDEX {concurrently} {quote(NAME)} ON {quote(_table())} {tail}")


def drop(using: str) -> None:
    """Remove the index where it is there."""
    connection = connections[using]
    quote = connection.ops.quote_name
    with connection.cursor() as cursor:
        if not _owns_task_table(using) or not _exists(connection, cursor):
            return
        if connection.vendor == "mysql":
            cursor.execute(f"DROP INDEX {quote(NAME)} ON {quote(_table())}")
        else:
            concurrently = "CONCURRENTLY" if connection.vendor == "postgresql" else ""
            cursor.execute(f"DROP INDEX {concurrently} {quote(NAME)}")


def restore(sender: Any, using: str, **kwargs: Any) -> None:
    """``post_migrate``: put the index back on SQLite, where our migration had made it."""
    connection = connections[using]
    # The signal comes once for every app, after all of them are migrated.
    if getattr(sender, "name", "") != "argus_maint" or connection.vendor != "sqlite":
        return
    if MIGRATION in MigrationRecorder(connection).applied_migrations():
        create(using)
