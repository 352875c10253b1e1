"""The database's clock.

Leases are judged by one clock that every process shares: the database's. This
module reads it; nothing here looks at the clock of the host, except on SQLite,
where the database *is* the process and its clock is the host's.

Use ``DbNow()`` inside an ORM expression and ``db_now(using)`` for its value.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models.functions import Now
from django.db.models.sql import Query


class DbNow(Now):
    """``NOW()`` of the database, in UTC.

    Django's own ``Now`` gives the session's local time on MariaDB, and no
    Django connection sets the session's zone: an hour would be missing or
    doubled when the server's zone changes its offset.
    """

    def as_mysql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="UTC_TIMESTAMP(6)", **context)


def db_now(using: str) -> datetime:
    """Return the database's present time, as its DateTimeField columns hold it."""
    query = Query(None)
    query.add_annotation(DbNow(), "now")
    ((value,),) = query.get_compiler(using).results_iter()
    assert isinstance(value, datetime)
    return value
