"""A filled task table that is made once and put back for every run."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any

from django.db import connection as _connection
from django_tasks_db.models import DBTaskResult

connection: Any = _connection


class Copy:
    """The database as it was when this was made. Nobody may be connected to it then."""

    def __init__(self) -> None:
        self.name = str(connection.settings_dict["NAME"])
        self.kept = f"{self.name}_kept"  # SQLite: goes with the rest of the database's files
        getattr(self, f"_keep_{connection.vendor}")()

    def restore(self) -> None:
        """Have it again, on disk and at rest."""
        getattr(self, f"_restore_{connection.vendor}")()
        connection.close()

    def drop(self) -> None:
        """Remove the copy."""
        if connection.vendor == "postgresql":
            self._server(f"DROP DATABASE IF EXISTS {_quoted(self.kept)} WITH (FORCE)")

    def _keep_sqlite(self) -> None:
        connection.close()  # the last one, and so the write-ahead log is in the file
        shutil.copyfile(self.name, self.kept)

    def _restore_sqlite(self) -> None:
        connection.close()
        for path in Path(self.name).parent.glob(f"{Path(self.name).name}-*"):
            path.unlink()
        shutil.copyfile(self.kept, self.name)
        descriptor = os.open(self.name, os.O_RDWR)
        os.fsync(descriptor)
        os.close(descriptor)

    def _keep_postgresql(self) -> None:
        connection.close()
        self._copy_database(self.name, self.kept)

    def _restore_postgresql(self) -> None:
        connection.close()
        self._server(f"DROP DATABASE {_quoted(self.name)} WITH (FORCE)")
        self._copy_database(self.kept, self.name)
        self._server("CHECKPOINT")

    def _copy_database(self, source: str, target: str) -> None:
        self._server(f"CREATE DATABASE {_quoted(target)} TEMPLATE {_quoted(source)}")

    def _server(self, sql: str) -> None:
        with connection._nodb_cursor() as cursor:
            cursor.execute(sql)

    def _keep_mysql(self) -> None:
        self.table, self.kept = DBTaskResult._meta.db_table, "bench_kept"
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE TABLE {self.kept} LIKE {self.table}")
            cursor.execute(f"INSERT INTO {self.kept} SELECT * FROM {self.table}")

    def _restore_mysql(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE TABLE {self.table}")
            cursor.execute(f"INSERT INTO {self.table} SELECT * FROM {self.kept}")
            cursor.execute(f"ANALYZE TABLE {self.table}")
            cursor.fetchall()


@contextlib.contextmanager
def copy() -> Generator[Copy, None, None]:
    """Keep what is there now."""
    made = Copy()
    try:
        yield made
    finally:
        made.drop()


def _quoted(name: str) -> str:
    quoted: str = connection.ops.quote_name(name)
    return quoted
