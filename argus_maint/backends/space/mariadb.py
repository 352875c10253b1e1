"""MariaDB: ``information_schema``, whose figures are InnoDB's own estimates.

The bytes of each index and the age of the statistics are in ``mysql.innodb_*_stats``,
and long transactions in ``innodb_trx``; a site's user may not be allowed to read them.
"""

from __future__ import annotations

from typing import Any

from django.db import DatabaseError, connections
from django_tasks_db.models import DBTaskResult

from argus_maint.backends.space.figures import IndexSpace, LongTransaction, Space
from argus_maint.dbtime import db_now

LONG = 3600  # seconds
DENIED = (1044, 1142, 1143, 1227)  # the right to a database, table, column, or PROCESS
_HERE = "database_name = DATABASE() AND table_name = %s"


def look(using: str) -> Space:
    """The space of the task table."""
    connection: Any = connections[using]
    table = DBTaskResult._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT data_length, index_length, data_free, table_rows FROM information_schema.tables"
            " WHERE table_schema = DATABASE() AND table_name = %s",
            [table],
        )
        data, index, free, rows = (int(each or 0) for each in cursor.fetchone() or [0] * 4)
        space = Space(
            vendor=connection.vendor,
            table=table,
            taken_at=db_now(using),
            measured="information_schema",
            table_bytes=data,
            index_bytes=index,
            free_bytes=free,
            free_source="free extents of the tablespace",
            rows=rows,
            rows_source="estimate of InnoDB",
        )
        _indexes(cursor, space)
        _long_transactions(cursor, space)
    return space


def _read(cursor: Any, space: Space, what: str, query: str, *values: Any) -> list[Any]:
    """The rows, or none and a note where the user may not read them."""
    try:
        cursor.execute(query, values)
    except DatabaseError as error:
        if error.args[0] not in DENIED:
            raise
        space.unknown.append(f"{what} ({str(error.args[-1]).strip()})")
        return []
    return list(cursor.fetchall())


def _indexes(cursor: Any, space: Space) -> None:
    sizes = _read(
        cursor,
        space,
        "bytes by index",
        "SELECT index_name, stat_value * @@innodb_page_size FROM mysql.innodb_index_stats"  # noqa: S608
        f" WHERE {_HERE} AND stat_name = 'size' AND index_name <> 'PRIMARY' ORDER BY index_name",
        space.table,
    )
    space.indexes = [IndexSpace(name, int(size)) for name, size in sizes]
    ages = _read(
        cursor,
        space,
        "age of the statistics",
        "SELECT UNIX_TIMESTAMP() - UNIX_TIMESTAMP(last_update) FROM mysql.innodb_table_stats"  # noqa: S608
        f" WHERE {_HERE}",
        space.table,
    )
    space.analyzed_ago = float(ages[0][0]) if ages else None


def _long_transactions(cursor: Any, space: Space) -> None:
    rows = _read(
        cursor,
        space,
        "long transactions",
        "SELECT t.trx_mysql_thread_id, TIMESTAMPDIFF(SECOND, t.trx_started, NOW()),"
        " LOWER(t.trx_state), COALESCE(p.user, '') FROM information_schema.innodb_trx t"
        " LEFT JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id"
        " WHERE t.trx_started < NOW() - INTERVAL %s SECOND ORDER BY t.trx_started",
        LONG,
    )
    space.long_transactions = [
        LongTransaction(int(pid), float(age), f"{state}, user {user}")
        for pid, age, state, user in rows
    ]
