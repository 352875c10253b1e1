"""Walking through rows in the order of an index, a bounded batch at a time.

A ``Source`` is a table, the columns that are the same in all the rows that are meant, a
time and the primary key. A ``Place`` is one row's time and key: where a batch ends and the
next begins, so that no batch looks again at what an earlier one has passed, and rows of the
very same time make no difference. Times and keys are the database's own values and are
handed back as they came.

Statements are made of names from here and of the conditions handed in; values are
parameters.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connections

Place = tuple[Any, Any]  # a row's time and key


@dataclass(frozen=True, slots=True)
class Condition:
    """A piece of a WHERE clause, and the values for it."""

    sql: str = ""
    params: tuple[Any, ...] = ()

    def __and__(self, other: Condition) -> Condition:
        sql = " AND ".join(filter(None, (self.sql, other.sql)))
        return Condition(sql, self.params + other.params)


def any_of(conditions: Sequence[Condition]) -> Condition:
    """One of these."""
    sql = " OR ".join(f"({each.sql})" for each in conditions)
    params = tuple(value for each in conditions for value in each.params)
    return Condition(f"({sql})", params)


def one_of(column: str, values: Sequence[Any], negate: bool = False) -> Condition:
    """``column`` is, or is not, one of these; of none at all nothing is."""
    if not values:
        return Condition("1 = 1" if negate else "1 = 0")
    places = ", ".join(["%s"] * len(values))
    return Condition(f"{column} {'NOT ' if negate else ''}IN ({places})", tuple(values))


@dataclass(frozen=True, slots=True)
class Source:
    """Which rows, in which order."""

    table: str
    time: str
    key: str = "id"
    fixed: Condition = Condition()
    # Tables of others whose rows go first, with the column that points at the key.
    dependents: tuple[tuple[str, str], ...] = ()


class Walk:
    """Goes through a source up to a time, batch by batch; a batch is what meets ``where``."""

    def __init__(
        self,
        source: Source,
        until: datetime,
        using: str,
        since: datetime | None = None,
        where: Condition = Condition(),
    ) -> None:
        self.source, self.using, self.where = source, using, where
        adapt = self.connection.ops.adapt_datetimefield_value
        self.until = adapt(until)
        self.since = None if since is None else adapt(since)
        self.after: Place | None = None  # the last row that has been passed

    @property
    def connection(self) -> Any:
        """The present one: it may have been thrown away and made anew."""
        return connections[self.using]

    def edge(self, rows: int) -> Place | None:
        """The row that ends a batch of so many; None where there are no more than that."""
        source, time = self.source, self._as_text()
        where = source.fixed & self._after() & Condition(f"{source.time} <= %s", (self.until,))
        sql = (
            f"SELECT {time}, {source.key} FROM {source.table} WHERE {where.sql} "  # noqa: S608
            f"ORDER BY {source.time}, {source.key} LIMIT 1 OFFSET {int(rows) - 1}"
        )
        with self.connection.cursor() as cursor:
            cursor.execute(sql, where.params)
            found: Place | None = cursor.fetchone()
        return found

    def batch(self, edge: Place | None) -> list[Condition]:
        """The rows from the last that has been passed to this one, or to the end; in order.

        In pieces that each are one range of the index, because a comparison of row values
        is none everywhere: those of the very same time as the last, those between, and
        those of the very same time as the edge.
        """
        source, pieces = self.source, []
        time, key = source.time, source.key
        begin, last = self.after, edge
        if begin is not None and last is not None and begin[0] == last[0]:
            same = Condition(f"{time} = %s AND {key} > %s AND {key} <= %s", (*begin, last[1]))
            return [source.fixed & same & self.where]
        if begin is not None:
            pieces.append(Condition(f"{time} = %s AND {key} > %s", begin))
        between = Condition(f"{time} > %s", (begin[0],)) if begin is not None else self._begin()
        if last is None:
            pieces.append(between & Condition(f"{time} <= %s", (self.until,)))
        else:
            pieces.append(between & Condition(f"{time} < %s", (last[0],)))
            pieces.append(Condition(f"{time} = %s AND {key} <= %s", last))
        return [source.fixed & piece & self.where for piece in pieces]

    def delete(self, pieces: Sequence[Condition]) -> int:
        """Delete these rows, a statement a piece; returns how many."""
        deleted = 0
        with self.connection.cursor() as cursor:
            for where in pieces:
                self._delete_dependents(cursor, where)
                sql = f"DELETE FROM {self.source.table} WHERE {where.sql}"  # noqa: S608
                cursor.execute(sql, where.params)
                deleted += cursor.rowcount
        return deleted

    def _delete_dependents(self, cursor: Any, where: Condition) -> None:
        for table, column in self.source.dependents:
            meant = f"SELECT {self.source.key} FROM {self.source.table} WHERE {where.sql}"  # noqa: S608
            sql = f"DELETE FROM {table} WHERE {column} IN ({meant})"  # noqa: S608
            cursor.execute(sql, where.params)

    @property
    def can_tell(self) -> bool:
        """Whether the database says which rows a DELETE took (SQLite from 3.35)."""
        return bool(self.connection.features.can_return_rows_from_bulk_insert)

    def delete_telling(self, pieces: Sequence[Condition]) -> list[Any]:
        """Delete these rows, a statement a piece; returns their keys, PostgreSQL's as text."""
        keys: list[Any] = []
        # PostgreSQL joins them: to take them out of the driver one by one costs as much again.
        joins = self.connection.vendor == "postgresql"
        with self.connection.cursor() as cursor:
            for where in pieces:
                self._delete_dependents(cursor, where)
                table, key = self.source.table, self.source.key
                sql = f"DELETE FROM {table} WHERE {where.sql} RETURNING {key}"  # noqa: S608
                if joins:
                    joined = f"string_agg({key}::text, ' ')"
                    sql = f"WITH gone AS ({sql}) SELECT {joined} FROM gone"  # noqa: S608
                cursor.execute(sql, where.params)
                for (found,) in cursor.fetchall():
                    keys += (found or "").split() if joins else [found]
        return keys

    def read(
        self, columns: Sequence[str], pieces: Sequence[Condition], skip_locked: bool = False
    ) -> list[tuple[Any, ...]]:
        """Columns of these rows, in the order of the walk."""
        order = f"ORDER BY {self.source.time}, {self.source.key}"
        order += " FOR UPDATE SKIP LOCKED" if skip_locked else ""
        rows: list[tuple[Any, ...]] = []
        with self.connection.cursor() as cursor:
            for where in pieces:
                what = f"{', '.join(columns)} FROM {self.source.table}"
                cursor.execute(f"SELECT {what} WHERE {where.sql} {order}", where.params)
                rows += cursor.fetchall()
        return rows

    def count(self, columns: Sequence[str], pieces: Sequence[Condition]) -> list[tuple[Any, ...]]:
        """These rows by columns: their values, how many, the first time and the last."""
        # MariaDB's usual collation would take "a" and "A" for one.
        exactly = " COLLATE utf8mb4_bin" if self.connection.vendor == "mysql" else ""
        names, time = ", ".join(f"{each}{exactly}" for each in columns), self.source.time
        rows: list[tuple[Any, ...]] = []
        with self.connection.cursor() as cursor:
            for where in pieces:
                cursor.execute(
                    f"SELECT {names}, count(*), min({time}), max({time}) "  # noqa: S608
                    f"FROM {self.source.table} WHERE {where.sql} GROUP BY {names}",
                    where.params,
                )
                rows += cursor.fetchall()
        return rows

    def keys(self, keys: Sequence[Any]) -> Condition:
        """The rows with these keys, which are still where they were."""
        if self.connection.vendor == "sqlite":  # one value, however many there are
            each = "SELECT value FROM json_each(%s)"
            where = Condition(f"{self.source.key} IN ({each})", (json.dumps(list(keys)),))
        elif self.connection.vendor == "postgresql":
            where = Condition(f"{self.source.key} = ANY(%s)", (list(keys),))
        else:
            where = one_of(self.source.key, keys)
        there = self.source.fixed & Condition(f"{self.source.time} <= %s", (self.until,))
        if self.connection.vendor == "sqlite":
            # Out of the planner's sight: it would go through all that is finished for a few keys.
            there = Condition(f"CASE WHEN {there.sql} THEN 1 ELSE 0 END", there.params)
        return where & there

    def _after(self) -> Condition:
        time, key = self.source.time, self.source.key
        if self.after is None:
            return self._begin()
        if self.connection.vendor == "mysql":
            return Condition(
                f"{time} >= %s AND ({time} > %s OR {key} > %s)", (self.after[0], *self.after)
            )
        return Condition(f"({time}, {key}) > (%s, %s)", self.after)

    def _begin(self) -> Condition:
        if self.since is None:
            return Condition()
        return Condition(f"{self.source.time} > %s", (self.since,))

    def _as_text(self) -> str:
        """The time as SQLite holds it: Django's converters would change its spelling."""
        time = self.source.time
        return f"CAST({time} AS TEXT)" if self.connection.vendor == "sqlite" else time
