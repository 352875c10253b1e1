"""PostgreSQL: sizes, dead rows, waste in the indexes, transactions that keep rows alive.

**Waste in an index** is estimated without reading it, as is usual for b-trees: entries
(``reltuples``, by the last VACUUM or ANALYZE) times the bytes of an entry (average
widths of its columns in ``pg_stats``, rounded up to 8, and 12 of overhead) on pages
filled to the fill factor, against the pages there are. An index of one column that is
not unique keeps each key once (deduplication): 6 bytes an entry, and its share of a key.
The estimate errs to the low side for other indexes with many equal keys, and without
statistics there is none. ``by_pgstatindex`` reads the index instead, where the extension
``pgstattuple`` is there: the job asks it before it rebuilds one.

**Free bytes** of the table are estimated in the same way, from rows and widths.
"""

from __future__ import annotations

import math
from typing import Any

from django.db import connections
from django_tasks_db.models import DBTaskResult

from argus_maint.backends.space.figures import DeadRows, IndexSpace, LongTransaction, Space
from argus_maint.dbtime import db_now

LONG = 3600  # seconds after which a transaction that holds dead rows back is reported
PAGE_OVERHEAD = 24 + 16  # page header, and what a b-tree keeps on each page
ESTIMATE = "estimated from statistics"

_TABLE = """
SELECT pg_table_size(c.oid), pg_indexes_size(c.oid), pg_relation_size(c.oid), c.reltuples,
       s.n_live_tup, s.n_dead_tup, s.last_vacuum, s.last_autovacuum,
       GREATEST(s.last_analyze, s.last_autoanalyze), current_setting('block_size')::int,
       (SELECT SUM(p.avg_width * (1 - p.null_frac)) FROM pg_stats p
         WHERE p.schemaname = n.nspname AND p.tablename = c.relname)
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
 WHERE c.oid = to_regclass(%s)
"""

_INDEXES = """
SELECT i.relname, pg_relation_size(i.oid), x.indisvalid, am.amname, i.reltuples, x.indisunique,
       COALESCE((SELECT option_value::int FROM pg_options_to_table(i.reloptions)
                  WHERE option_name = 'fillfactor'), 90),
       w.columns, w.known, w.width, w.distinct_values
  FROM pg_index x
  JOIN pg_class i ON i.oid = x.indexrelid
  JOIN pg_am am ON am.oid = i.relam
  JOIN pg_class t ON t.oid = x.indrelid
  JOIN pg_namespace n ON n.oid = t.relnamespace
 CROSS JOIN LATERAL (
       SELECT COUNT(*) AS columns, COUNT(p.attname) AS known,
              SUM(p.avg_width * (1 - p.null_frac)) AS width,
              MAX(CASE WHEN p.n_distinct < 0 THEN -p.n_distinct * t.reltuples
                       ELSE p.n_distinct END) AS distinct_values
         FROM pg_attribute ia
         LEFT JOIN pg_attribute ta
           ON ta.attrelid = t.oid AND ta.attnum = x.indkey[ia.attnum - 1] AND ta.attnum > 0
         LEFT JOIN pg_stats p
           ON p.schemaname = n.nspname
          AND p.tablename = CASE WHEN ta.attname IS NULL THEN i.relname ELSE t.relname END
          AND p.attname = COALESCE(ta.attname, ia.attname)
        WHERE ia.attrelid = i.oid AND ia.attnum > 0
       ) w
 WHERE x.indrelid = to_regclass(%s)
 ORDER BY i.relname
"""

# Only what holds a snapshot or has written keeps dead rows: a session that is idle in a
# transaction and has done neither harms nobody. Others' sessions need pg_monitor to see.
_LONG = """
SELECT pid, EXTRACT(EPOCH FROM clock_timestamp() - xact_start)::float,
       CONCAT_WS(', ', state, 'user ' || usename, NULLIF(application_name, ''))
  FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid()
   AND backend_type IS DISTINCT FROM 'autovacuum worker'
   AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)
   AND xact_start < clock_timestamp() - %s * INTERVAL '1 second'
UNION ALL
SELECT NULL, EXTRACT(EPOCH FROM clock_timestamp() - prepared)::float,
       'prepared transaction ' || gid || ', user ' || owner
  FROM pg_prepared_xacts
 WHERE database = current_database() AND prepared < clock_timestamp() - %s * INTERVAL '1 second'
 ORDER BY 2 DESC
"""


def regclass(connection: Any) -> str:
    """The task table's name as ``to_regclass`` takes it."""
    return str(connection.ops.quote_name(DBTaskResult._meta.db_table))


def look(using: str) -> Space:
    """The space of the task table."""
    connection: Any = connections[using]
    name = regclass(connection)
    with connection.cursor() as cursor:
        cursor.execute(_TABLE, [name])
        table, indexes, heap, tuples, live, dead, *times, block, width = cursor.fetchone()
        rows = int(tuples) if tuples >= 0 else int(live or 0)
        space = Space(
            vendor="postgresql",
            table=DBTaskResult._meta.db_table,
            taken_at=db_now(using),
            measured="pg_relation_size",
            table_bytes=table,
            index_bytes=indexes,
            rows=rows,
            rows_source="estimate, reltuples" if tuples >= 0 else "estimate, n_live_tup",
            dead_rows=DeadRows(dead or 0, live or 0, *times),
        )
        if width is not None and tuples >= 0:
            space.free_bytes = max(0, heap - _heap_bytes(rows, float(width), block))
            space.free_source = ESTIMATE
        cursor.execute(_INDEXES, [name])
        space.indexes = [_index(row, block) for row in cursor.fetchall()]
    space.long_transactions = long_transactions(connection, LONG)
    return space


def emptiness(connection: Any) -> tuple[int, float, float]:
    """The table's bytes, and the shares of it that are empty and of dead rows."""
    with connection.cursor() as cursor:
        cursor.execute(_TABLE, [regclass(connection)])
        table, _, heap, tuples, live, dead, *_, block, width = cursor.fetchone()
    empty = 0.0
    rows = (live or 0) + (dead or 0)
    if width is not None and tuples >= 0 and heap:
        # What has come since the last ANALYZE is in the counters only.
        filled = _heap_bytes(max(int(tuples), rows), float(width), block)
        empty = max(0.0, 1 - filled / heap)
    return table, empty * heap / max(1, table), (dead or 0) / max(1, rows)


def long_transactions(connection: Any, seconds: float) -> list[LongTransaction]:
    """Transactions that have kept dead rows alive for so long, the oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(_LONG, [seconds, seconds])
        return [LongTransaction(*row) for row in cursor.fetchall()]


def _heap_bytes(rows: int, width: float, block: int) -> int:
    """What the rows need: header and line pointer are 28 bytes, null bitmap included."""
    row = math.ceil((width + 28) / 8) * 8
    a_page = max(1, (block - 24) // row) if row < block else 1
    return math.ceil(rows / a_page) * block


def _index(row: tuple[Any, ...], block: int) -> IndexSpace:
    name, size, valid, method, tuples, unique, fill, columns, known, width, distinct = row
    if not valid or method != "btree" or tuples < 0 or known < columns or not size:
        return IndexSpace(name, size, valid)
    entry = math.ceil(float(width) / 8) * 8 + 12
    if columns == 1 and not unique and distinct:
        entry = min(entry, 6 + entry / max(1.0, tuples / float(distinct)))
    needed = _btree_bytes(tuples * entry, fill, block)
    return IndexSpace(name, size, valid, round(max(0.0, 1 - needed / size), 3), ESTIMATE)


def _btree_bytes(leaf_bytes: float, fill: int, block: int) -> int:
    """Leaf pages at the fill factor, one page in a hundred above them, and the first page."""
    leaves = max(1, math.ceil(leaf_bytes / ((block - PAGE_OVERHEAD) * fill / 100)))
    return (1 + leaves + math.ceil(leaves / 100)) * block


def by_pgstatindex(connection: Any, name: str) -> float | None:
    """The waste of an index by reading it; None without the extension, or the right to it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT p.oid::regproc::text FROM pg_extension e"
            " JOIN pg_proc p ON p.pronamespace = e.extnamespace AND p.proname = 'pgstatindex'"
            " WHERE e.extname = 'pgstattuple' AND p.proargtypes[0] = 'regclass'::regtype"
            " AND has_function_privilege(p.oid, 'execute')"
        )
        found = cursor.fetchone()
        if not found:
            return None
        schema_and_name = found[0].split("(")[0]
        cursor.execute(
            f"SELECT index_size, leaf_pages, avg_leaf_density,"  # noqa: S608
            f" current_setting('block_size')::int FROM {schema_and_name}(to_regclass(%s))",
            [connection.ops.quote_name(name)],
        )
        size, leaves, density, block = cursor.fetchone()
    if not size:
        return None
    density = 0.0 if math.isnan(density) else density
    needed = _btree_bytes(leaves * block * density / 100, 90, block)
    return max(0.0, 1 - needed / float(size))
