"""PostgreSQL: who stands between, what the server allows, whether it takes writes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django_tasks_db.models import DBTaskResult

from argus_maint.doctor.line import Line, bad, ok, warn

TOPIC = "postgresql"
CONNECTIONS = "connections"
FULL = 0.8  # share of the connections that are taken
SHORT = 10_000  # milliseconds: statements of a prune or an index may take as long
UNITS = {"ms": 1.0, "s": 1000.0, "min": 60_000.0, "h": 3_600_000.0, "d": 86_400_000.0}


def look(connection: Any) -> Iterator[Line]:
    """One connection, as the site's settings make it."""
    yield from _pooler(connection)
    yield from _writes(connection)
    yield _isolation(connection)
    yield from _limits(connection)
    yield from _vacuum(connection)
    yield _room(connection)


def _value(connection: Any, sql: str, *parameters: Any) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters or None)
        row = cursor.fetchone()
    return row[0] if row else None


def _pooler(connection: Any) -> Iterator[Line]:
    """A pooler gives each client a key of its own, so the pid that it was told is none."""
    told = getattr(getattr(connection.connection, "info", None), "backend_pid", None)
    options = connection.settings_dict
    if told is None or told == _value(connection, "SELECT pg_backend_pid()"):
        yield ok(CONNECTIONS, "they go to the server itself: no pooler stands between")
        return
    found = "a pooler (PgBouncer, or the like) stands between"
    threshold = options.get("OPTIONS", {}).get("prepare_threshold")
    if not options.get("DISABLE_SERVER_SIDE_CURSORS"):
        yield bad(
            CONNECTIONS,
            f"{found}, and DISABLE_SERVER_SIDE_CURSORS is off",
            "Where it pools by transaction, the site's QuerySet.iterator() fails now and then: "
            '"cursor does not exist". Commands of argus_maint use none.',
            'Set "DISABLE_SERVER_SIDE_CURSORS": True in DATABASES, or pool by session.',
        )
    if threshold is not None:
        yield bad(
            CONNECTIONS,
            f"{found}, and prepare_threshold is {threshold}",
            "Where it pools by transaction, a prepared statement is looked for in a session "
            'that does not have it: "prepared statement does not exist".',
            'Take "prepare_threshold" out of OPTIONS.',
        )
    if options.get("OPTIONS", {}).get("pool"):
        yield warn(
            CONNECTIONS,
            f"{found}, and Django pools too",
            "Each holds connections that the other cannot use.",
            'Take "pool" out of OPTIONS, or connect to the server itself.',
        )
    if options.get("DISABLE_SERVER_SIDE_CURSORS") and threshold is None:
        yield ok(
            CONNECTIONS,
            f"{found}, and the settings suit it",
            "maint storage --run rebuilds indexes only on a connection without one.",
        )


def _writes(connection: Any) -> Iterator[Line]:
    if _value(connection, "SELECT pg_is_in_recovery()"):
        yield bad(
            TOPIC,
            "the server is a replica, or still recovering",
            "It takes no writes: nothing is enqueued, claimed or finished.",
            "Let DATABASES name the primary server.",
        )
    elif _value(connection, "SHOW default_transaction_read_only") == "on":
        yield bad(
            TOPIC,
            "default_transaction_read_only is on",
            "Every write is refused: nothing is enqueued, claimed or finished.",
            "ALTER DATABASE ... RESET default_transaction_read_only, or the same for the role; "
            "somebody may have set it to end an emergency.",
        )
    else:
        yield from _rights(connection)


def _rights(connection: Any) -> Iterator[Line]:
    table = connection.ops.quote_name(DBTaskResult._meta.db_table)
    if _value(connection, "SELECT to_regclass(%s)::text", table) is None:
        return  # not migrated: that is told elsewhere
    missing = [
        right
        for right in ("SELECT", "INSERT", "UPDATE", "DELETE")
        if not _value(connection, "SELECT has_table_privilege(%s, %s)", table, right)
    ]
    if missing:
        role = _value(connection, "SELECT current_user")
        yield bad(
            TOPIC,
            f"the role {role} has no right to {', '.join(missing)} on the task table",
            "What needs it is refused: enqueue (INSERT), claim (UPDATE), prune (DELETE).",
            f"As the owner: GRANT {', '.join(missing)} ON {table} TO {role};",
        )
    else:
        yield ok(TOPIC, "the server takes writes, and the role may make them")


def _isolation(connection: Any) -> Line:
    level = str(_value(connection, "SHOW transaction_isolation"))
    if level == "read committed":
        return ok(TOPIC, "transactions are read committed")
    return warn(
        TOPIC,
        f"transactions are {level}",
        "Workers that claim at the same time then fail with serialization errors, and try again.",
        'Take "isolation_level" out of OPTIONS, or default_transaction_isolation out of the role.',
    )


def _limits(connection: Any) -> Iterator[Line]:
    text = str(_value(connection, "SHOW statement_timeout"))
    limit = _milliseconds(text)
    if 0 < limit < SHORT:
        yield warn(
            TOPIC,
            f"statement_timeout is {text} for every statement of this role",
            "The larger statements of a prune, of maint status on a long queue and of migrate "
            "are ended in the middle.",
            "Set it where requests are served, and not for the role: ALTER ROLE ... RESET "
            "statement_timeout; or at least 10s.",
        )


def _milliseconds(text: str) -> float:
    """Of ``5s``, ``500ms``, ``0``."""
    digits = text.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = text[len(digits) :] or "ms"
    return float(digits or 0) * UNITS.get(unit, 1.0)


def _vacuum(connection: Any) -> Iterator[Line]:
    own = _value(
        connection,
        "SELECT array_to_string(reloptions, ',') FROM pg_class WHERE oid = to_regclass(%s)",
        connection.ops.quote_name(DBTaskResult._meta.db_table),
    )
    off = "of the task table" if "autovacuum_enabled=false" in (own or "") else ""
    if _value(connection, "SHOW autovacuum") != "on":
        off = "of the whole server"
    if not off:
        yield ok(TOPIC, "autovacuum is on")
        return
    table = DBTaskResult._meta.db_table
    fix = f"ALTER TABLE {table} RESET (autovacuum_enabled);"
    if "server" in off:
        fix = "In postgresql.conf: autovacuum = on; then SELECT pg_reload_conf();"
    yield bad(
        TOPIC,
        f"autovacuum {off} is off",
        "Each task leaves dead rows, two or more; the table grows without end, and every claim "
        "gets slower.",
        fix,
    )


def _room(connection: Any) -> Line:
    most = int(_value(connection, "SHOW max_connections"))
    most -= int(_value(connection, "SHOW superuser_reserved_connections"))
    taken = int(
        _value(
            connection,
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'",
        )
    )
    if taken < FULL * most:
        return ok(TOPIC, f"{taken} of {most} connections are taken")
    return warn(
        TOPIC,
        f"{taken} of {most} connections are taken",
        "When all are, a worker or keeper that connects again is refused, and waits.",
        "Fewer processes (db_worker takes one each, and one for the keeper), a pooler, or a "
        "higher max_connections.",
    )
