"""The database: does it answer, take writes, and suit a queue? Connections, whatever it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db import connections

from argus_maint.doctor import mariadb, postgres, sqlite
from argus_maint.doctor.line import Line, ok, warn

TOPIC = "database"
CONNECTIONS = "connections"
OF_VENDOR = {"sqlite": sqlite.look, "postgresql": postgres.look, "mysql": mariadb.look}


def look(using: str) -> Iterator[Line]:
    """First how connections are made, for which nobody need answer."""
    connection: Any = connections[using]
    if connection.vendor != "sqlite":
        yield from _age(connection)
    connection.ensure_connection()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.fetchone()
    version = ".".join(map(str, connection.get_database_version()))
    yield ok(TOPIC, f'"{using}" answers: {connection.display_name} {version}')
    examiner = OF_VENDOR.get(connection.vendor)
    if examiner is None:
        yield warn(
            TOPIC,
            f"{connection.display_name} is not one that argus_maint was tested with",
            "Claims, leases and rescues rest on how it locks.",
            "Keep the tasks on PostgreSQL, MariaDB or SQLite.",
        )
        return
    yield from examiner(connection)


def _age(connection: Any) -> Iterator[Line]:
    """How long connections live, and who makes sure that they do."""
    values = connection.settings_dict
    age, checks = values.get("CONN_MAX_AGE"), values.get("CONN_HEALTH_CHECKS")
    if values.get("OPTIONS", {}).get("pool"):
        yield ok(CONNECTIONS, "Django pools them; db_worker closes its pool before it forks")
    elif age == 0:
        yield ok(
            CONNECTIONS,
            "CONN_MAX_AGE is 0: each request that enqueues makes one",
            "A connection costs some milliseconds; workers keep theirs whatever this says.",
        )
    elif not checks:
        life = "for ever" if age is None else f"for {age} s"
        yield warn(
            CONNECTIONS,
            f"CONN_MAX_AGE keeps them {life}, and CONN_HEALTH_CHECKS is off",
            "After a restart of the database the first request of every process fails, and "
            "what it was to enqueue is not.",
            'Set "CONN_HEALTH_CHECKS": True beside CONN_MAX_AGE in DATABASES.',
        )
    else:
        yield ok(CONNECTIONS, "they are kept, and looked at before they are used again")
