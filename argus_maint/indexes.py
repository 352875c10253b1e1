"""Our indexes on the task table: which tasks are RUNNING, and which finished when.

Without the first every rescue pass and every status screen scans the whole table, and
without the second every prune. Both are partial where the database can be (SQLite,
PostgreSQL). MariaDB cannot: there the first is left out, since an index of the stock
table begins with ``status``, and the second covers the whole table.

PostgreSQL builds them CONCURRENTLY; an invalid leftover of a build that was
interrupted is dropped first. SQLite loses them when the other app alters its table
(Django makes a new table and copies only the indexes it knows), and elsewhere people drop
them, so ``restore`` runs after every ``migrate``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db import connections, router
from django.db.migrations.recorder import MigrationRecorder


@dataclass(frozen=True, slots=True)
class Index:
    """One index: its name, what it covers, and the migration of ours that makes it."""

    name: str
    columns: str
    condition: str
    migration: str
    columns_mariadb: str = ""  # empty: not needed there


RUNNING = Index(
    "argus_maint_running_idx",
    # status leads although it is the same in every row of the partial index: without
    # it SQLite goes through the whole table by another index to spare itself a sort.
    "status, started_at",
    "status = 'RUNNING'",
    "0002_running_index",
)
FINISHED = Index(
    "argus_maint_finished_idx",
    "status, finished_at, id",
    # Not by status: SQLite uses a partial index only where it can see that every row
    # the query asks for is in it, and any comparison of finished_at shows that.
    "finished_at IS NOT NULL",
    "0003_finished_index",
    # Not status first, or the claim of a worker might take it for its own.
    "finished_at, status, id",
)
ALL = (RUNNING, FINISHED)


def made_on(vendor: str) -> list[Index]:
    """Those that a database is to have."""
    return [each for each in ALL if vendor != "mysql" or each.columns_mariadb]


def _table() -> str:
    return apps.get_model("django_tasks_database", "DBTaskResult")._meta.db_table


def _exists(index: Index, connection: Any, cursor: Any) -> bool:
    return index.name in connection.introspection.get_constraints(cursor, _table())


def _owns_task_table(using: str) -> bool:
    model = apps.get_model("django_tasks_database", "DBTaskResult")
    return router.allow_migrate_model(using, model)


def create(index: Index, using: str) -> None:
    """Create the index where it is missing; safe to run again at any time."""
    connection = connections[using]
    quote = connection.ops.quote_name
    if connection.features.supports_partial_indexes:
        tail = f"({index.columns}) WHERE {index.condition}"
    elif index.columns_mariadb:
        tail = f"({index.columns_mariadb})"
    else:
        return
    if not _owns_task_table(using):
        return
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT NOT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)",
                [quote(index.name)],
            )
            if cursor.fetchone() == (True,):
                cursor.execute(f"DROP INDEX CONCURRENTLY {quote(index.name)}")
        if _exists(index, connection, cursor):
            return
        concurrently = "CONCURRENTLY" if connection.vendor == "postgresql" else ""
        cursor.execute(
            f"CREATE INDEX {concurrently} {quote(index.name)} ON {quote(_table())} {tail}"
        )


def drop(index: Index, using: str) -> None:
    """Remove the index where it is there."""
    connection = connections[using]
    quote = connection.ops.quote_name
    with connection.cursor() as cursor:
        if not _owns_task_table(using) or not _exists(index, connection, cursor):
            return
        if connection.vendor == "mysql":
            cursor.execute(f"DROP INDEX {quote(index.name)} ON {quote(_table())}")
        else:
            concurrently = "CONCURRENTLY" if connection.vendor == "postgresql" else ""
            cursor.execute(f"DROP INDEX {concurrently} {quote(index.name)}")


def restore(sender: Any, using: str, **kwargs: Any) -> None:
    """``post_migrate``: put back what our migrations had made and is gone or invalid."""
    connection = connections[using]
    # The signal comes once for every app, after all of them are migrated.
    if getattr(sender, "name", "") != "argus_maint":
        return
    if connection.vendor == "postgresql" and connection.in_atomic_block:
        return  # a test's; CONCURRENTLY is not for transactions
    applied = MigrationRecorder(connection).applied_migrations()
    for index in ALL:
        if ("argus_maint", index.migration) in applied:
            create(index, using)
