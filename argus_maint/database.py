"""Connections: which database, short transactions, and what may be tried again."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator
from typing import Any

from django.db import (
    InterfaceError,
    InternalError,
    OperationalError,
    ProgrammingError,
    connections,
    router,
    transaction,
)

# What a database that is away, restarting, locked or (PostgreSQL after a failover:
# InternalError) read-only raises. Everything else is a fault of the statement, and trying
# it again would not help.
TRANSIENT = (OperationalError, InterfaceError, InternalError)


MIGRATE = "run manage.py migrate"
WHERE = "look at the setting DATABASES"
ROOM = "make room on the disk of the database"
# In the words of SQLite, PostgreSQL and MariaDB.
_NO_TABLE = re.compile(r"no such table|(relation|table) .*(does not|doesn't) exist", re.I | re.S)
_FULL = re.compile(r"disk is full|table .* is full|no space left", re.I)
_NO_DATABASE = re.compile(r"unable to open database file|unknown database|does not exist", re.I)


def what_helps(error: Exception) -> str:
    """What to do about an error that no waiting will end; nothing for any other."""
    text = str(error)
    if _NO_TABLE.search(text):
        return MIGRATE
    if _FULL.search(text):
        return ROOM
    return WHERE if _NO_DATABASE.search(text) else ""


def may_come_back(error: Exception) -> bool:
    """Whether a process that stays waits for it: the database is away, or not migrated yet.

    A table that is missing is an OperationalError on SQLite only.
    """
    if isinstance(error, ProgrammingError):
        return what_helps(error) == MIGRATE
    return isinstance(error, TRANSIENT)


def in_plain_words(error: Exception) -> str:
    """What is wrong with the database, on one line, and what to do."""
    text = " ".join(str(error).split())
    hint = what_helps(error)
    if hint == MIGRATE:
        return f"A table is missing: {hint}. ({text})"
    if isinstance(error, (OperationalError, InterfaceError)):
        return f"The database does not answer: {text}" + (f" ({hint})" if hint else "")
    return f"The database refused: {text}"


def is_locked(error: Exception) -> bool:
    """Whether a lock was waited for in vain, which is no outage.

    SQLite says so in words, MariaDB by error 1205, PostgreSQL by SQLSTATE 55P03.
    """
    first = error.args[0] if error.args else ""
    return isinstance(error, OperationalError) and (
        first == 1205
        or "is locked" in str(first).lower()
        or getattr(error.__cause__, "sqlstate", "") == "55P03"
    )


def task_database() -> str:
    """Alias of the database that holds the task table, and so our tables too."""
    from django_tasks_db.models import DBTaskResult

    return router.db_for_write(DBTaskResult)


def close_all() -> None:
    """Close every connection and pool, so that a fork inherits none.

    A child that closes an inherited connection tells the server that the parent's
    session is over.
    """
    for connection in connections.all(initialized_only=True):
        connection.close()
        close_pool = getattr(connection, "close_pool", None)  # PostgreSQL only
        if close_pool is not None:
            close_pool()


def discard(using: str) -> None:
    """Throw a connection away, whatever state it is in."""
    connection = connections[using]
    with contextlib.suppress(Exception):  # a broken one may fail in any way; it goes regardless
        connection.close()
    del connections[using]


def discard_if_in_transaction(using: str) -> None:
    """Throw a connection away that others have left within a transaction.

    What is written on it next would be rolled back with what they left, or be refused.
    """
    connection = connections[using]
    raw: Any = connection.connection
    status = getattr(getattr(raw, "info", None), "transaction_status", 0)  # psycopg
    begun = getattr(raw, "in_transaction", False) or status != 0  # sqlite3
    if connection.in_atomic_block or raw is not None and (begun or not connection.autocommit):
        discard(using)


@contextlib.contextmanager
def own_session(using: str) -> Generator[Any, None, None]:
    """A connection beside the site's, in autocommit, and closed at the end.

    For statements that refuse a transaction, and for session settings (a cache, a
    timeout) that nobody else is to inherit. It never comes from a pool, and does not
    see what a transaction of the caller has not committed.
    """
    connection: Any = connections[using].copy()
    connection.settings_dict["OPTIONS"].pop("pool", None)
    connection.settings_dict["ATOMIC_REQUESTS"] = False
    try:
        connection.ensure_connection()
        yield connection
    finally:
        with contextlib.suppress(Exception):  # a broken one may fail in any way; it goes regardless
            connection.close()


@contextlib.contextmanager
def short_transaction(using: str, wait: float) -> Generator[None, None, None]:
    """A write transaction that waits at most ``wait`` seconds for any lock.

    Raises OperationalError when it would have to wait longer. On SQLite it takes the
    write lock at once: a transaction that reads first cannot wait for it later. On
    PostgreSQL the bounds are SET LOCAL, so that they also hold, and end, behind a
    transaction-pooling proxy.
    """
    connection: Any = connections[using]
    connection.ensure_connection()
    milliseconds = max(1, int(wait * 1000))
    if connection.vendor == "sqlite":
        mode, connection.transaction_mode = connection.transaction_mode, "IMMEDIATE"
        before = connection.connection.execute("PRAGMA busy_timeout").fetchone()[0]
        connection.connection.execute(f"PRAGMA busy_timeout = {milliseconds}")
        try:
            with transaction.atomic(using):
                yield
        finally:
            connection.transaction_mode = mode
            if connection.connection is not None:
                connection.connection.execute(f"PRAGMA busy_timeout = {before}")
        return
    if connection.vendor == "mysql":
        with _bounded_session(connection, wait), transaction.atomic(using):
            yield
        return
    with transaction.atomic(using):
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(
                    f"SET LOCAL lock_timeout = {milliseconds};"
                    f"SET LOCAL statement_timeout = {milliseconds * 3};"
                    f"SET LOCAL idle_in_transaction_session_timeout = {milliseconds * 3}"
                )
        yield


def bounded_reads(using: str, wait: float) -> contextlib.AbstractContextManager[None]:
    """Reads that wait at most ``wait`` seconds for any lock, as for one of a whole table.

    SQLite has bounds of its own, and needs no transaction to read.
    """
    if connections[using].vendor == "sqlite":
        return contextlib.nullcontext()
    return short_transaction(using, wait)


@contextlib.contextmanager
def durably(using: str) -> Generator[None, None, None]:
    """A transaction that is on disk when it has ended, whatever the site has chosen.

    SQLite with ``synchronous=NORMAL`` and PostgreSQL with ``synchronous_commit=off`` may
    lose the last transactions with the power; what is built on this one must not be lost
    later than it.
    """
    connection: Any = connections[using]
    if connection.vendor == "sqlite":
        connection.ensure_connection()
        (before,) = connection.connection.execute("PRAGMA synchronous").fetchone()
        connection.connection.execute("PRAGMA synchronous = FULL")
        try:
            with transaction.atomic(using):
                yield
        finally:
            if connection.connection is not None:
                connection.connection.execute(f"PRAGMA synchronous = {before}")
        return
    with transaction.atomic(using):
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL synchronous_commit = on")
        yield


@contextlib.contextmanager
def _bounded_session(connection: Any, wait: float) -> Generator[None, None, None]:
    """MariaDB's bounds belong to the session: set them, and put back what was there.

    The second ends the transaction of a process that was stopped in the middle of it,
    whose locks would keep others from declaring it dead.
    """
    bounds = dict.fromkeys(("innodb_lock_wait_timeout", "lock_wait_timeout"), max(1, round(wait)))
    if connection.mysql_is_mariadb:
        bounds["idle_transaction_timeout"] = max(1, round(wait * 3))
    both = (f"@argus_maint_{name} = @@{name}, {name} = {n}" for name, n in bounds.items())
    with connection.cursor() as cursor:
        cursor.execute(f"SET {', '.join(both)}")
    try:
        yield
    finally:
        # Where the connection has broken, its session and these bounds have gone with it.
        if connection.connection is not None:
            back = (f"{name} = @argus_maint_{name}" for name in bounds)
            with contextlib.suppress(*TRANSIENT), connection.cursor() as cursor:
                cursor.execute(f"SET {', '.join(back)}")
