"""MariaDB and MySQL: engine, character set, isolation, strictness, how long sessions live."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django_tasks_db.models import DBTaskResult

from argus_maint.doctor.line import Line, bad, ok, warn

TOPIC = "mariadb"
CONNECTIONS = "connections"


def look(connection: Any) -> Iterator[Line]:
    """One connection, as the site's settings make it."""
    yield from _table(connection)
    yield _writes(connection)
    yield _isolation(connection)
    yield from _strict(connection)
    yield from _sessions(connection)


def _row(connection: Any, sql: str, *parameters: Any) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters or None)
        return cursor.fetchone()


def _table(connection: Any) -> Iterator[Line]:
    table = DBTaskResult._meta.db_table
    row = _row(
        connection,
        "SELECT engine, table_collation FROM information_schema.tables "
        "WHERE table_schema = DATABASE() AND table_name = %s",
        table,
    )
    if row is None:
        return  # not migrated: that is told elsewhere
    engine, collation = str(row[0]), str(row[1])
    if engine.lower() != "innodb":
        yield bad(
            TOPIC,
            f"the task table is in {engine}",
            "It knows no transactions: a rescue and its record would not be one, and a claim "
            "locks the whole table.",
            f"With the queue stopped: ALTER TABLE {table} ENGINE=InnoDB;",
        )
    elif not collation.startswith("utf8mb4"):
        yield warn(
            TOPIC,
            f"the task table is in {collation}",
            "A task with a character that it does not have, an emoji or a Chinese name, cannot "
            "be enqueued, or its result not be stored.",
            f"With the queue stopped: ALTER TABLE {table} CONVERT TO CHARACTER SET utf8mb4;",
        )
    else:
        yield ok(TOPIC, f"the task table is in {engine}, {collation}")


def _writes(connection: Any) -> Line:
    only = "@@read_only, 0" if connection.mysql_is_mariadb else "@@read_only, @@super_read_only"
    if any(int(each) for each in _row(connection, f"SELECT {only}")):
        return bad(
            TOPIC,
            "the server is read_only",
            "It is a replica, or somebody has set it: nothing is enqueued, claimed or finished "
            "but by an administrator.",
            "Let DATABASES name the primary server; or SET GLOBAL read_only = 0;",
        )
    return ok(TOPIC, "the server takes writes")


def _isolation(connection: Any) -> Line:
    name = "tx_isolation" if connection.mysql_is_mariadb else "transaction_isolation"
    level = str(_row(connection, f"SELECT @@{name}")[0]).replace("-", " ").lower()
    if level == "read committed":
        return ok(TOPIC, "transactions are read committed")
    return warn(
        TOPIC,
        f"transactions are {level}",
        "A claim, and a prune, lock the gaps beside their rows: enqueues wait for them, and "
        "deadlocks follow.",
        'Take "isolation_level" out of OPTIONS: Django\'s default is read committed.',
    )


def _strict(connection: Any) -> Iterator[Line]:
    modes = str(_row(connection, "SELECT @@sql_mode")[0]).upper()
    if "STRICT_TRANS_TABLES" in modes or "STRICT_ALL_TABLES" in modes:
        return
    yield warn(
        TOPIC,
        "sql_mode is not strict",
        "What is too long for its column is cut without a word: a traceback, a result.",
        'In OPTIONS: "init_command": "SET sql_mode=\'STRICT_TRANS_TABLES\'".',
    )


def _sessions(connection: Any) -> Iterator[Line]:
    """The server ends a session that is idle; a connection that is kept outlives it."""
    idle = int(_row(connection, "SELECT @@wait_timeout")[0])
    values = connection.settings_dict
    age = values.get("CONN_MAX_AGE")
    if values.get("CONN_HEALTH_CHECKS") or (age is not None and age < idle):
        return
    kept = "for ever" if age is None else f"for {age} s"
    yield warn(
        CONNECTIONS,
        f"they are kept {kept}, and the server ends them after {idle} s without work",
        'The next request of that process fails: "MySQL server has gone away".',
        f"CONN_MAX_AGE below {idle}, or CONN_HEALTH_CHECKS = True, in DATABASES.",
    )
