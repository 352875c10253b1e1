"""What a PostgreSQL server says about who would suffer from more work.

Elsewhere there is nothing to ask, and the answers are those of an idle server. A role
without ``pg_monitor`` sees its own sessions alone; then too.
"""

from __future__ import annotations

from django.db import connections

from argus_maint.backends.space.postgres import LONG, long_transactions


def replica_lag(using: str) -> float:
    """Seconds that the slowest replica is behind (``pg_stat_replication.replay_lag``)."""
    connection = connections[using]
    if connection.vendor != "postgresql":
        return 0.0
    with connection.cursor() as cursor:
        cursor.execute("SELECT max(extract(epoch FROM replay_lag)) FROM pg_stat_replication")
        (lag,) = cursor.fetchone()
    return float(lag or 0.0)


def long_transaction(using: str) -> str:
    """One line about the oldest transaction that keeps deleted rows from being cleaned up."""
    connection = connections[using]
    if connection.vendor != "postgresql":
        return ""
    found = long_transactions(connection, LONG)
    if not found:
        return ""
    who = f"process {found[0].pid}" if found[0].pid else "a prepared transaction"
    return f"{who} ({found[0].what}) has had a transaction open for {found[0].age:.0f} s"
