"""Migrations that are not applied, and our indexes that are gone or invalid."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db import connections
from django.db.migrations.executor import MigrationExecutor
from django_tasks_db.models import DBTaskResult

from argus_maint import indexes
from argus_maint.doctor.line import Line, bad, ok

TOPIC = "tables"
MOST = 3  # migrations that are named


def look(using: str) -> Iterator[Line]:
    """Reads what the database has, and what the code wants."""
    connection: Any = connections[using]
    option = "" if using == "default" else f" --database {using}"
    fix = f"manage.py migrate{option}"
    missing = _missing(connection)
    for app, names in missing.items():
        shown = ", ".join(names[:MOST]) + (" ..." if len(names) > MOST else "")
        yield bad(
            TOPIC,
            f"{app}: {len(names)} of its migrations not applied: {shown}",
            "The code expects tables and columns that are not there.",
            fix,
        )
    if not missing:
        yield ok(TOPIC, "every migration of argus_maint and django_tasks_db is applied")
    if DBTaskResult._meta.db_table in connection.introspection.table_names():
        yield from _indexes(connection, fix)


def _missing(connection: Any) -> dict[str, list[str]]:
    """Of the two apps, by their names as people write them."""
    apps = {"argus_maint": "argus_maint", DBTaskResult._meta.app_label: "django_tasks_db"}
    executor = MigrationExecutor(connection)
    nodes = [node for node in executor.loader.graph.leaf_nodes() if node[0] in apps]
    found: dict[str, list[str]] = {}
    for migration, _ in executor.migration_plan(nodes):
        if migration.app_label in apps:
            found.setdefault(apps[migration.app_label], []).append(migration.name)
    return found


def _indexes(connection: Any, fix: str) -> Iterator[Line]:
    with connection.cursor() as cursor:
        here = connection.introspection.get_constraints(cursor, DBTaskResult._meta.db_table)
        invalid = _invalid(connection, cursor)
    wanted = [each.name for each in indexes.made_on(connection.vendor)]
    for name in wanted:
        if name in here and name not in invalid:
            continue
        how = "is invalid: its build was interrupted" if name in here else "is missing"
        yield bad(
            TOPIC,
            f"index {name} {how}",
            "Every rescue pass, status or prune reads the whole task table without it.",
            f"{fix} builds it; on PostgreSQL the queue goes on meanwhile",
        )
    if all(name in here and name not in invalid for name in wanted):
        yield ok(TOPIC, f"indexes {' and '.join(wanted)} are there")


def _invalid(connection: Any, cursor: Any) -> set[str]:
    if connection.vendor != "postgresql":
        return set()
    cursor.execute(
        "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
        "WHERE i.indrelid = to_regclass(%s) AND NOT i.indisvalid",
        [connection.ops.quote_name(DBTaskResult._meta.db_table)],
    )
    return {name for (name,) in cursor.fetchall()}
