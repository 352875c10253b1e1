"""SQLite: pages of the file; bytes by table and index where ``dbstat`` can tell.

``dbstat`` reads every page of a table, so it is asked only while the used part of the
file is at most ``READ_WHOLE``; above it the figures are those of the whole file, with
its other tables. It counts the rows on its way. Without it the number of rows is
bounded by the rowids, which grow by one a row and are pruned from below: an upper bound.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.db import OperationalError, connections
from django_tasks_db.models import DBTaskResult

from argus_maint.backends.space.figures import IndexSpace, Space, SqliteFile
from argus_maint.dbtime import db_now

READ_WHOLE = 256 * 1024**2
TELLING = 64 * 1024  # bytes of an index below which its half-empty last page is most of it
AUTO_VACUUM = {0: "none", 1: "full", 2: "incremental"}


def pragma(cursor: Any, name: str) -> Any:
    """The one value that a PRAGMA answers with."""
    return cursor.execute(f"PRAGMA {name}").fetchone()[0]


def path_of(connection: Any) -> Path | None:
    """The file of the database; None where it is in memory."""
    with connection.cursor() as cursor:
        rows = cursor.execute("PRAGMA database_list").fetchall()
    name = next(row[2] for row in rows if row[1] == "main")
    return Path(name) if name else None


def file_of(connection: Any) -> SqliteFile:
    """The figures of the file, from its header."""
    path = path_of(connection)
    with connection.cursor() as cursor:
        wal = Path(f"{path}-wal") if path else None
        return SqliteFile(
            page_size=pragma(cursor, "page_size"),
            page_count=pragma(cursor, "page_count"),
            free_pages=pragma(cursor, "freelist_count"),
            auto_vacuum=AUTO_VACUUM[pragma(cursor, "auto_vacuum")],
            journal_mode=pragma(cursor, "journal_mode"),
            wal_bytes=wal.stat().st_size if wal and wal.exists() else 0,
        )


def look(using: str) -> Space:
    """The space of the task table, or of the whole file where that is too big."""
    connection: Any = connections[using]
    file = file_of(connection)
    table = DBTaskResult._meta.db_table
    used = file.file_bytes - file.free_bytes
    space = Space(
        vendor="sqlite",
        table=table,
        taken_at=db_now(using),
        measured="file",
        table_bytes=used,
        index_bytes=0,
        free_bytes=file.free_bytes,
        free_source="free pages of the file",
        sqlite=file,
    )
    with connection.cursor() as cursor:
        if used > READ_WHOLE:
            space.unknown.append(
                f"bytes by table and index (dbstat would read all of {used >> 20} MiB): "
                "the figures are those of the whole file"
            )
        elif not _by_table(cursor, space):
            space.unknown.append(
                "bytes by table and index (this SQLite is built without dbstat): "
                "the figures are those of the whole file"
            )
        if space.measured == "file":
            space.rows, space.rows_source = _row_bound(cursor, table), "upper bound, by rowids"
    return space


def _by_table(cursor: Any, space: Space) -> bool:
    """Fill in table, indexes and rows; False where SQLite has no ``dbstat``."""
    cursor.execute(
        "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = %s ORDER BY name",
        [space.table],
    )
    names = [name for (name,) in cursor.fetchall()]
    try:
        table_bytes, _, rows = _btree(cursor, space.table)
    except OperationalError as error:
        if "dbstat" not in str(error):
            raise
        return False
    for name in names:
        size, unused, _ = _btree(cursor, name)
        small = size < TELLING
        waste = None if small else round(unused / size, 3)
        space.indexes.append(IndexSpace(name, size, True, waste, "" if small else "dbstat"))
    space.table_bytes, space.index_bytes = table_bytes, sum(each.bytes for each in space.indexes)
    space.rows, space.rows_source = rows, "counted by dbstat"
    space.measured = "dbstat"
    return True


def _btree(cursor: Any, name: str) -> tuple[int, int, int]:
    """Bytes, unused bytes and entries of one table or index."""
    cursor.execute(
        "SELECT COALESCE(SUM(pgsize), 0), COALESCE(SUM(unused), 0),"
        " COALESCE(SUM(CASE WHEN pagetype = 'leaf' THEN ncell END), 0)"
        " FROM dbstat WHERE name = %s",
        [name],
    )
    size, unused, cells = cursor.fetchone()
    return size, unused, cells


def _row_bound(cursor: Any, table: str) -> int:
    quoted = table.replace('"', '""')
    # Two queries: SQLite goes straight to an end of the table for one min or max alone.
    first, last = (
        cursor.execute(f'SELECT {end}(rowid) FROM "{quoted}"').fetchone()[0]  # noqa: S608
        for end in ("MIN", "MAX")
    )
    return 0 if last is None else last - first + 1
