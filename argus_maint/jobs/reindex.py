"""PostgreSQL after a prune: rebuild bloated indexes, and drop what a rebuild left behind.

``REINDEX INDEX CONCURRENTLY`` lets the queue read and write all the while. It is run for
an index of the task table that is bigger than ``STORAGE["min_size"]`` and of which more
than ``STORAGE["bloat"]`` is waste (``backends.space.postgres`` says how that is known),
the most wasteful first, and at most once a week each: were an estimate wrong, no index
would be rebuilt every night for nothing.

It waits for every transaction that is older than itself, and no autovacuum runs on the
table meanwhile. So it is not begun while a transaction is open for longer than
``OLD``, while somebody else builds an index or vacuums, or with less time than
``LEAST``; no lock is waited for longer than ``OLD``, and the whole ends at the pass's
limit. What an end in the middle leaves is an invalid index, ``NAME_ccnew`` or
``NAME_ccold``: it costs every write and serves nobody. These are dropped at the
start of a pass and after a rebuild that failed, but not while anybody builds.
"""

from __future__ import annotations

from typing import Any

from django.db import Error

from argus_maint.backends.space import IndexSpace, Space
from argus_maint.backends.space.postgres import by_pgstatindex, long_transactions, regclass
from argus_maint.clock import now
from argus_maint.database import own_session
from argus_maint.jobs.acts import LOCK_WAIT, Outcome, Round

OLD = 10.0  # seconds
LEAST = 1.0  # seconds

# VACUUM, CREATE INDEX, REINDEX CONCURRENTLY and what is stronger hold one of these.
_HOLDERS = """
SELECT l.pid, COALESCE(a.query, '') FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
 WHERE l.locktype = 'relation' AND l.relation = to_regclass(%s) AND l.granted
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND l.mode NOT IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock')
   AND l.pid <> pg_backend_pid()
UNION
SELECT pid, 'CREATE INDEX' FROM pg_stat_progress_create_index
 WHERE datname = current_database() AND COALESCE(relid = to_regclass(%s), true)
"""
_LEFT = """
SELECT i.relname, pg_relation_size(i.oid) FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
 WHERE x.indrelid = to_regclass(%s) AND NOT x.indisvalid ORDER BY i.relname
"""


def tidy(round_: Round, space: Space, rebuilt_lately: set[str]) -> dict[str, int]:
    """Do what the indexes need; returns those that were rebuilt, and their bytes now."""
    wasteful = sorted(
        (each for each in space.indexes if _is_wasteful(each, round_)),
        key=lambda each: -each.wasted_bytes,
    )
    leftovers = any(each.leftover for each in space.indexes)
    if not wasteful and not leftovers:
        return {}
    rebuilt: dict[str, int] = {}
    with own_session(round_.using) as session:
        if _is_proxied(session):
            why = "this connection goes through a proxy, on which no limit to a lock would hold"
            for each in wasteful:
                round_.note("reindex", Outcome.BLOCKED, subject=each.name, detail=why)
            return {}
        if leftovers:
            _drop_leftovers(round_, session)
        for each in wasteful:
            if each.name in rebuilt_lately:
                why = "rebuilt in the last 7 days"
                round_.note("reindex", Outcome.LATER, subject=each.name, detail=why)
            elif _is_confirmed(session, each, round_.storage.bloat):
                size = _rebuild(round_, session, each)
                rebuilt |= {} if size is None else {each.name: size}
    return rebuilt


def _is_wasteful(index: IndexSpace, round_: Round) -> bool:
    waste = index.waste or 0.0
    return index.valid and index.bytes > round_.storage.min_size and waste > round_.storage.bloat


def _is_proxied(session: Any) -> bool:
    """Whether a pooling proxy is between: it invents the pid that it tells its clients."""
    told = getattr(getattr(session.connection, "info", None), "backend_pid", None)
    with session.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return told is not None and cursor.fetchone()[0] != told


def _is_confirmed(session: Any, index: IndexSpace, bloat: float) -> bool:
    """What pgstatindex says, where it is there, goes before the estimate."""
    measured = by_pgstatindex(session, index.name)
    return measured is None or measured > bloat


def _bound(session: Any, lock: float, statement: float) -> None:
    with session.cursor() as cursor:
        cursor.execute(
            f"SET lock_timeout = {max(1, int(lock * 1000))};"
            f"SET statement_timeout = {max(1, int(statement * 1000))}"
        )


def _in_the_way(session: Any) -> str:
    """Who works on the table so that we had better not; empty for nobody."""
    name = regclass(session)
    with session.cursor() as cursor:
        cursor.execute(_HOLDERS, [name, name])
        holders = cursor.fetchall()
    if not holders:
        return ""
    pid, query = holders[0]
    return f"pid {pid} builds an index or vacuums: {' '.join(query.split())[:80]}"


def _drop_leftovers(round_: Round, session: Any) -> None:
    with session.cursor() as cursor:
        cursor.execute(_LEFT, [regclass(session)])
        found = [IndexSpace(name, size, valid=False) for name, size in cursor.fetchall()]
    for each in found:
        if each.leftover:
            _drop(round_, session, each)


def _drop(round_: Round, session: Any, index: IndexSpace) -> None:
    began = now()
    values: dict[str, Any] = {"subject": index.name, "bytes_before": index.bytes}
    if why := _in_the_way(session):
        round_.note("drop_index", Outcome.BLOCKED, detail=why, **values)
        return
    if round_.dry_run:
        round_.note("drop_index", Outcome.WOULD, bytes_after=0, **values)
        return
    # Dropping waits for old transactions as building does, but has nothing to lose.
    _bound(session, LOCK_WAIT, 60)
    try:
        with session.cursor() as cursor:
            cursor.execute(f"DROP INDEX CONCURRENTLY {session.ops.quote_name(index.name)}")
    except Error as error:
        round_.note("drop_index", _outcome(error), began, detail=_line(error), **values)
        return
    round_.note("drop_index", Outcome.DONE, began, bytes_after=0, **values)


def _rebuild(round_: Round, session: Any, index: IndexSpace) -> int | None:
    """Rebuild one; returns its bytes, or None where that could not be."""
    values: dict[str, Any] = {"subject": index.name, "bytes_before": index.bytes}
    if why := _in_the_way(session) or _old_transaction(session):
        round_.note("reindex", Outcome.BLOCKED, detail=why, **values)
        return None
    waste = f"{index.waste or 0:.0%} waste, {index.waste_source}"
    if round_.dry_run:
        after = index.bytes - index.wasted_bytes
        round_.note("reindex", Outcome.WOULD, detail=waste, bytes_after=after, **values)
        return None
    if round_.left < LEAST:
        round_.note("reindex", Outcome.LATER, detail="no time left", **values)
        return None
    round_.progress(f"rebuilding {index.name}", 0, 0)
    began, name = now(), session.ops.quote_name(index.name)
    _bound(session, OLD, round_.left)
    try:
        with session.cursor() as cursor:
            cursor.execute(f"REINDEX INDEX CONCURRENTLY {name}")
            cursor.execute("SELECT pg_relation_size(to_regclass(%s))", [name])
            size = int(cursor.fetchone()[0])
    except Error as error:
        round_.note("reindex", _outcome(error), began, detail=_line(error), **values)
        _drop_leftovers(round_, session)
        return None
    except KeyboardInterrupt:
        why = "interrupted: the next pass drops what is left of it"
        round_.note("reindex", Outcome.LATER, began, detail=why, **values)
        raise
    round_.note("reindex", Outcome.DONE, began, detail=waste, bytes_after=size, **values)
    return size


def _old_transaction(session: Any) -> str:
    found = long_transactions(session, OLD)
    if not found:
        return ""
    oldest = found[0]
    return f"pid {oldest.pid} has a transaction open for {oldest.age:.0f} s ({oldest.what})"


def _outcome(error: Error) -> Outcome:
    """A lock or a limit that we set is nobody's fault."""
    code = getattr(error.__cause__, "sqlstate", None) or getattr(error.__cause__, "pgcode", None)
    return Outcome.BLOCKED if code in ("55P03", "57014") else Outcome.FAILED


def _line(error: Error) -> str:
    return " ".join(str(error).split())
