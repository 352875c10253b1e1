"""What a PostgreSQL server says about who would suffer from more work.

Elsewhere there is nothing to ask, and the answers are those of an idle server. A role
without ``pg_monitor`` sees its own sessions alone; then too.
"""

from __future__ import annotations

from typing import Any

from django.db import connections

LONG = 3600.0  # seconds after which a transaction is worth a word


def replica_lag(using: str) -> float:
    """Seconds that the slowest replica is behind (``pg_stat_replication.replay_lag``)."""
    lag = _ask(using, "SELECT max(extract(epoch FROM replay_lag)) FROM pg_stat_replication")
    return float(lag or 0.0)


def long_transaction(using: str, longer_than: float = LONG) -> str:
    """One line about the oldest transaction that keeps deleted rows from being cleaned up."""
    found = _ask(
        using,
        "SELECT format('process %%s of %%s has had a transaction open for %%s s', pid, "
        "coalesce(usename, '?'), extract(epoch FROM now() - xact_start)::int) "
        "FROM pg_stat_activity WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid() "
        "AND xact_start < now() - %s * interval '1 second' ORDER BY xact_start LIMIT 1",
        longer_than,
    )
    return str(found or "")


def _ask(using: str, sql: str, *params: Any) -> Any:
    connection = connections[using]
    if connection.vendor != "postgresql":
        return None
    with connection.cursor() as cursor:
        cursor.execute(sql, params or None)
        row = cursor.fetchone()
    return row[0] if row else None
