"""Who holds a lock that the queue waits for, by the database's own word.

``holders(using, held, patience)`` looks for transactions older than ``held`` seconds:

- PostgreSQL: those for which a session waits that works on the task table or one of ours;
  those that hold a lock on such a table which keeps writers out; and, less urgent, those that
  are idle for so long with rows of it locked. Other users' sessions need ``pg_monitor``.
- MariaDB: those that block a transaction on such a table (this needs PROCESS), and sessions
  that wait for its metadata. InnoDB answers from a copy that it renews only when nobody has
  read it for 0.1 s: who asks more often sees nothing new.
- SQLite: it tries to take the write lock for ``patience`` seconds, and gives it back at once.
  ``/proc/locks`` has the pid of who holds it, on Linux and on this host.

Where it may not look it finds nothing. It waits for no lock but SQLite's.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.apps import apps
from django.db import DatabaseError, OperationalError, connections
from django_tasks_db.models import DBTaskResult

from argus_maint.database import is_locked, own_session

# Modes that keep those out who write.
_STRONG = "('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')"
_HOLDERS = f"""
WITH ours AS (SELECT to_regclass(name)::oid AS oid FROM unnest(%s::text[]) AS name),
     here AS (SELECT l.* FROM pg_locks l JOIN ours ON l.relation = ours.oid
               JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()),
     waiting AS (SELECT DISTINCT w.pid FROM pg_locks w
                  WHERE NOT w.granted AND w.pid IN (SELECT pid FROM here)),
     blocking AS (SELECT b.pid, count(*) AS waiting
                    FROM waiting, unnest(pg_blocking_pids(waiting.pid)) AS b(pid) GROUP BY 1),
     holding AS (SELECT pid, bool_or(mode IN {_STRONG}) AS strong FROM here
                  WHERE granted AND mode NOT IN ('AccessShareLock', 'ShareUpdateExclusiveLock')
                  GROUP BY 1)
SELECT a.pid, EXTRACT(EPOCH FROM clock_timestamp() - a.xact_start)::float, a.state, a.usename,
       a.application_name, COALESCE(host(a.client_addr), ''), left(a.query, 200),
       COALESCE(b.waiting, 0), COALESCE(h.strong, false)
  FROM pg_stat_activity a
  LEFT JOIN blocking b ON b.pid = a.pid
  LEFT JOIN holding h ON h.pid = a.pid
 WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
   AND a.backend_type IS DISTINCT FROM 'autovacuum worker'
   AND a.xact_start < clock_timestamp() - %s * INTERVAL '1 second'
   AND (b.pid IS NOT NULL OR h.strong
        OR (h.pid IS NOT NULL AND a.state LIKE 'idle in transaction%%'
            AND a.state_change < clock_timestamp() - %s * INTERVAL '1 second'))
 ORDER BY 8 DESC, 2 DESC
"""  # noqa: S608 - made of names of modes
_WAITS = """
SELECT b.trx_mysql_thread_id, TIMESTAMPDIFF(SECOND, b.trx_started, NOW()),
       COUNT(DISTINCT w.requesting_trx_id), MAX(p.user), MAX(p.host), MAX(b.trx_query)
  FROM information_schema.innodb_lock_waits w
  JOIN information_schema.innodb_trx b ON b.trx_id = w.blocking_trx_id
  JOIN information_schema.innodb_locks l ON l.lock_id = w.requested_lock_id
  LEFT JOIN information_schema.processlist p ON p.id = b.trx_mysql_thread_id
 WHERE b.trx_started < NOW() - INTERVAL %s SECOND
   AND l.lock_table IN ({tables})
 GROUP BY 1, 2 ORDER BY 3 DESC, 2 DESC
"""
_METADATA = """
SELECT COUNT(*), MAX(time) FROM information_schema.processlist
 WHERE db = DATABASE() AND state LIKE 'Waiting for table metadata lock%%' AND time > %s
   AND ({tables})
"""
# The byte that a writer of SQLite locks: RESERVED in the file, or WAL_WRITE_LOCK in its -shm.
_RESERVED, _WAL_WRITE = 0x40000001, 120
_LOCKS = Path("/proc/locks")
PATIENCE = 2.0  # seconds for which who looks once tries for SQLite's write lock


@dataclass(frozen=True, slots=True)
class Holder:
    """A transaction, or SQLite's writer, that is in the way of others."""

    vendor: str
    what: str  # in words, with how long
    pid: int | None = None  # of the session; SQLite: of the process
    host: str = ""
    who: str = ""  # user and application, or the command
    query: str = ""
    waiting: int = 0
    urgent: bool = True

    def __str__(self) -> str:
        """What it does, and who it is."""
        who = f"pid {self.pid}" if self.pid else "somebody"
        aside = ", ".join(filter(None, (self.who, self.host)))
        return f"{self.what}: {who}" + (f" ({aside})" if aside else "")


def holders(using: str, held: float, patience: float | None = None) -> list[Holder]:
    """Whoever is in the way now, the worst first."""
    connection: Any = connections[using]
    if connection.vendor == "sqlite":
        return _sqlite(connection, using, held if patience is None else patience)
    if connection.vendor == "postgresql":
        return _postgres(connection, held)
    if connection.vendor == "mysql" and connection.mysql_is_mariadb:
        try:
            return [*_mariadb(connection, held), *_mariadb_metadata(connection, held)]
        except DatabaseError as error:
            # Late, for maint status needs none of it elsewhere.
            from argus_maint.backends.space.mariadb import DENIED

            if error.args and error.args[0] in DENIED:
                return []
            raise
    return []


def _tables() -> list[str]:
    """The task table and ours."""
    ours = [model._meta.db_table for model in apps.get_app_config("argus_maint").get_models()]
    return [DBTaskResult._meta.db_table, *ours]


def _postgres(connection: Any, held: float) -> list[Holder]:
    names = [connection.ops.quote_name(each) for each in _tables()]
    with connection.cursor() as cursor:
        cursor.execute(_HOLDERS, [names, held, held])
        rows = cursor.fetchall()
    found = []
    for pid, age, state, user, application, address, query, waiting, strong in rows:
        what = f"a transaction open for {age:.0f} s ({state})"
        what += f" makes {waiting} others wait" if waiting else " holds locks on our tables"
        who = " ".join(filter(None, (f"user {user}", application)))
        urgent = bool(waiting or strong)
        found.append(
            Holder("postgresql", what, pid, address, who, query or "", waiting, urgent=urgent)
        )
    return found


def _mariadb(connection: Any, held: float) -> list[Holder]:
    database = connection.settings_dict["NAME"]
    tables = [f"`{database}`.`{each}`" for each in _tables()]
    sql = _WAITS.format(tables=", ".join(["%s"] * len(tables)))
    with connection.cursor() as cursor:
        cursor.execute(sql, [held, *tables])
        return [
            Holder(
                "mysql",
                f"a transaction open for {age} s makes {waiting} others wait",
                *(pid, (host or "").rpartition(":")[0], f"user {user or ''}", query or ""),
                waiting,
            )
            for pid, age, waiting, user, host, query in cursor.fetchall()
        ]


def _mariadb_metadata(connection: Any, held: float) -> list[Holder]:
    """Who waits for the definition of a table; for whom, only a plugin could say."""
    tables = _tables()
    sql = _METADATA.format(tables=" OR ".join(["info LIKE %s"] * len(tables)))
    with connection.cursor() as cursor:
        cursor.execute(sql, [held, *(f"%{each}%" for each in tables)])
        waiting, longest = cursor.fetchone()
    if not waiting:
        return []
    what = f"{waiting} sessions have waited for the metadata of our tables, up to {longest} s"
    return [Holder("mysql", what, waiting=waiting)]


def _sqlite(connection: Any, using: str, patience: float) -> list[Holder]:
    path = str(connection.settings_dict["NAME"])
    with own_session(using) as session:
        raw = session.connection
        raw.execute(f"PRAGMA busy_timeout = {max(1, round(patience * 1000))}")
        try:
            session.ensure_connection()
            with session.cursor() as cursor:
                cursor.execute("BEGIN IMMEDIATE")
                cursor.execute("ROLLBACK")
        except OperationalError as error:
            if not is_locked(error):
                raise
        else:
            return []
    what = f"the write lock could not be had for {patience:g} s"
    for pid in _writers(path):
        return [Holder("sqlite", what, pid, socket.gethostname(), _command(pid), waiting=1)]
    return [Holder("sqlite", what, waiting=1)]


def _writers(path: str) -> Iterator[int]:
    """Pids that hold the write lock, as far as this host's kernel tells; see proc_locks(5)."""
    wanted = {}
    for name, byte in ((path, _RESERVED), (f"{path}-shm", _WAL_WRITE)):
        try:
            file = Path(name).stat()
        except OSError:
            continue
        wanted[file.st_ino] = byte, file
    try:
        lines = _LOCKS.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        fields = line.split()
        if len(fields) != 8 or fields[3] != "WRITE":  # one that waits has an arrow more
            continue
        pid, (device, _, inode), first, last = (
            int(fields[4]),
            fields[5].rpartition(":"),
            *fields[6:],
        )
        if pid <= 0 or int(inode) not in wanted:
            continue
        byte, file = wanted[int(inode)]
        if int(first) <= byte and (last == "EOF" or byte <= int(last)):
            if device == _device(file) or _has_open(pid, file):
                yield pid


def _device(file: os.stat_result) -> str:
    return f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}"


def _has_open(pid: int, file: os.stat_result) -> bool:
    """Whether a process has this very file open.

    A number of an inode is one of many, for each file system has its own; and some (overlayfs,
    btrfs) tell another device than the kernel's list of locks. A pid is named to be killed.
    """
    with contextlib.suppress(OSError):
        for each in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if os.path.samestat(each.stat(), file):
                    return True
    return False


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return ""
    return " ".join(words).strip()[:200]
