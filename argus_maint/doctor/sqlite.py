"""SQLite: journal, waiting for locks, how transactions begin, where the file is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.db import OperationalError

from argus_maint.backends.space.sqlite import path_of, pragma
from argus_maint.database import is_locked, own_session
from argus_maint.doctor.files import mount_of
from argus_maint.doctor.line import Line, bad, ok, warn

TOPIC = "sqlite"
WAL = '"OPTIONS": {"init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"}'
PATIENT = 5000  # milliseconds of waiting for a lock, Python's default
PROBE = 1000  # milliseconds that the probe waits
REMOTE = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "glusterfs", "ceph", "afs")


def look(connection: Any) -> Iterator[Line]:
    """One connection, as the site's settings make it."""
    path = path_of(connection)
    if path is None:
        yield bad(
            TOPIC,
            "the database is in memory",
            "Every process has one of its own: no worker sees what the site enqueues.",
            'Give it a file: "NAME": BASE_DIR / "db.sqlite3".',
        )
        return
    with connection.cursor() as cursor:
        journal = str(pragma(cursor, "journal_mode")).lower()
        waits = int(pragma(cursor, "busy_timeout"))
        synchronous = int(pragma(cursor, "synchronous"))
    yield _journal(journal)
    yield _waits(waits)
    yield _mode(connection)
    if synchronous == 0:
        yield warn(
            TOPIC,
            "PRAGMA synchronous is OFF",
            "When the power goes, the database may be damaged, with all that is in it.",
            "PRAGMA synchronous=NORMAL in init_command, which with WAL is nearly as fast.",
        )
    kind = mount_of(path)
    if kind in REMOTE:
        yield bad(
            TOPIC,
            f"{path} is on a network file system ({kind})",
            "Locks and the shared memory of WAL do not work there: the database gets damaged.",
            "Move the file to a disk of this host, or the tasks to PostgreSQL.",
        )
    yield _writes(connection, path)


def _journal(mode: str) -> Line:
    if mode == "wal":
        return ok(TOPIC, "journal mode wal: who reads waits for nobody")
    return bad(
        TOPIC,
        f"journal mode {mode}",
        "Whoever writes waits for all that read, and they for it: beats and claims of workers "
        "wait with them, and workers are taken for dead.",
        f"In DATABASES: {WAL}. Once is enough: the file remembers it.",
    )


def _waits(milliseconds: int) -> Line:
    if milliseconds >= PATIENT:
        return ok(TOPIC, f"a lock is waited for for {milliseconds / 1000:g} s")
    make = bad if milliseconds < PATIENT / 5 else warn
    return make(
        TOPIC,
        f"a lock is waited for for {milliseconds / 1000:g} s only",
        'SQLite has one writer at a time: the others get "database is locked", and what they '
        "were to enqueue is not.",
        'In DATABASES: "OPTIONS": {"timeout": 20}, in seconds; and no PRAGMA busy_timeout in '
        "init_command.",
    )


def _mode(connection: Any) -> Line:
    mode = (connection.transaction_mode or "DEFERRED").upper()
    if mode in ("IMMEDIATE", "EXCLUSIVE"):
        return ok(TOPIC, f"transactions begin {mode}: they wait for the lock, and then have it")
    return warn(
        TOPIC,
        f"transactions begin {mode}",
        'One that reads before it writes cannot wait for the lock: it gets "database is locked" '
        "at once, whatever the timeout. Ours begin IMMEDIATE by themselves; yours do not.",
        'In DATABASES: "OPTIONS": {"transaction_mode": "IMMEDIATE"}.',
    )


def _writes(connection: Any, path: Path) -> Line:
    """Take the write lock on a connection beside, and let it go."""
    try:
        with own_session(connection.alias) as beside:
            link = beside.connection
            link.isolation_level = None
            link.execute(f"PRAGMA busy_timeout = {PROBE}")
            with beside.wrap_database_errors:
                link.execute("BEGIN IMMEDIATE")
                try:
                    # The lock alone asks nothing of the disk; this is taken back.
                    link.execute("CREATE TABLE argus_maint_probe (id INTEGER)")
                finally:
                    link.execute("ROLLBACK")
    except OperationalError as error:
        if is_locked(error):
            return bad(
                TOPIC,
                f"nobody could write for {PROBE / 1000:g} s: {error}",
                "One process holds the write lock: enqueues, claims and beats wait for it.",
                f"fuser -v {path} names who has the file open; end the one that is stuck.",
            )
        return bad(
            TOPIC,
            f"{path} cannot be written to: {error}",
            "Nothing can be enqueued, claimed or finished, and workers cannot beat.",
            "Let the user that runs the site and its workers write to the file and to its "
            f"folder, for -wal and -shm beside it: ls -ld {path.parent} {path}",
        )
    return ok(TOPIC, f"{path} takes writes")
