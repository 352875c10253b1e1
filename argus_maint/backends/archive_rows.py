"""Finished tasks as an archive takes them: lines of JSON, compressed, apart by backend.

Each database makes the JSON itself, for it is quicker at that than Python. PostgreSQL also
joins the lines and hands over one text a backend (``at_once``): to take rows out of the
driver one by one costs more than half of all the time.

``redact`` is given each task as a dict and returns what is to be kept of it.

Raises ``RowError`` for a task that cannot be written while others can.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import connections, models
from django_tasks_db.models import DBTaskResult

from argus_maint.backends.frames import compress
from argus_maint.backends.walk import Condition, any_of

Row = Sequence[Any]  # the key, and the values of ``columns``
Redact = Callable[[dict[str, Any]], Any]


class RowError(Exception):
    """A task cannot be archived; the text says why. Others can."""


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one backend, as they go into its file."""

    alias: str
    data: bytes
    keys: list[Any]
    first: Any  # when the first of them finished, and the last
    last: Any
    size: int  # characters of the lines


def columns(using: str) -> list[str]:
    """What is to be read of a row for ``parts``, behind its key."""
    connection, time = connections[using], "finished_at"
    if connection.vendor == "sqlite":  # whatever is there, as it is
        time = f"CAST({time} AS TEXT)"
    return ["backend_name", time, _as_json(connection)]


def parts(rows: Sequence[Row], redact: Redact | None) -> list[Part]:
    """Rows that were read in the order of their times."""
    by_alias: dict[str, list[Row]] = {}
    for row in rows:
        by_alias.setdefault(row[1], []).append(row)
    made = []
    for alias, some in by_alias.items():
        text = "".join(f"{_line(row[3], redact)}\n" for row in some)
        keys, first, last = [row[0] for row in some], some[0][2], some[-1][2]
        made.append(Part(alias, compress(text.encode()), keys, first, last, len(text)))
    return made


def at_once(connection: Any, pieces: Sequence[Condition]) -> list[Part]:
    """The rows of these pieces, read and joined by PostgreSQL; in the order of the table.

    To sort them by time would have it sort their JSON, which spills to its disk.
    """
    where = any_of(pieces)
    # What it makes of a row has no line break: those in texts are escaped, and jsonb has none.
    sql = (
        f"SELECT backend_name, string_agg({_as_json(connection)}, E'\\n'), "  # noqa: S608
        "string_agg(id::text, ' '), min(finished_at), max(finished_at) "
        f"FROM {_table(connection)} WHERE {where.sql} GROUP BY backend_name"
    )
    made = []
    with connection.cursor() as cursor:
        cursor.execute(sql, where.params)
        for alias, text, keys, first, last in cursor.fetchall():
            data = compress(f"{text}\n".encode())
            made.append(Part(alias, data, keys.split(), first, last, len(text)))
    return made


def _line(text: str | None, redact: Redact | None) -> str:
    if text is None:
        raise RowError("the database makes no JSON of it: it may be too long for its limits")
    if redact is None:
        return text.replace("\r", " ").replace("\n", " ")
    try:
        kept = redact(json.loads(text))
    except Exception as error:
        raise RowError(f"the redaction raised {error!r}") from error
    if not isinstance(kept, dict):
        what = type(kept).__name__
        raise RowError(f"the redaction returned {what}, and must return a dict")
    return json.dumps(kept, default=str)


def _table(connection: Any) -> str:
    quoted: str = connection.ops.quote_name(DBTaskResult._meta.db_table)
    return quoted


def _as_json(connection: Any) -> str:
    """SQL that makes one line of JSON of a whole row: the database is quicker at it."""
    quote = connection.ops.quote_name
    if connection.vendor == "postgresql":
        return f"row_to_json({_table(connection)})::text"
    pairs = (
        f"'{field.column}', {_value(field, quote(field.column), connection)}"
        for field in DBTaskResult._meta.concrete_fields
    )
    return f"json_object({', '.join(pairs)})"


def _value(field: Any, column: str, connection: Any) -> str:
    """A column as PostgreSQL's row_to_json spells it."""
    sqlite = connection.vendor == "sqlite"
    if isinstance(field, models.JSONField):
        return f"json({column})" if sqlite else f"json_extract({column}, '$')"
    if isinstance(field, models.UUIDField) and not connection.features.has_native_uuid_field:
        cuts = ", '-', ".join(f"substr({column}, {at}, {n})" for at, n in _CUTS)
        return cuts.replace(", '-', ", " || '-' || ") if sqlite else f"concat({cuts})"
    if isinstance(field, models.DateTimeField):
        zone = "+00:00" if settings.USE_TZ and connection.timezone_name == "UTC" else ""
        if sqlite:
            return f"replace({column}, ' ', 'T') || '{zone}'"
        return f"concat(date_format({column}, '%%Y-%%m-%%dT%%H:%%i:%%s.%%f'), '{zone}')"
    return column


_CUTS = ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12))  # of a UUID's hex digits
