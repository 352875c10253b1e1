"""SQLite after a prune: give free pages back to the disk, in steps nobody notices.

``PRAGMA incremental_vacuum(N)`` holds the write lock while it moves N pages: how many, and
how long it pauses between the steps, is by ``jobs.pace`` and ``STORAGE``'s target and duty.
``STORAGE["min_size"]`` of free pages stay, for the rows of the next days. Checkpoints are
made between the steps, where they hold no lock, and not within a commit.

At the end the WAL is written back: PASSIVE, which waits for nobody, and then TRUNCATE,
only where no reader is in the way and so without waiting. ``PRAGMA optimize`` renews
the planner's statistics, with a bound on what it reads: SQLite wants that in every pass
while one of our partial indexes is empty, for an empty one leaves no statistics.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any

from django.db import OperationalError

from argus_maint.backends.space.figures import SqliteFile
from argus_maint.backends.space.sqlite import file_of, pragma
from argus_maint.clock import now
from argus_maint.database import is_locked, own_session
from argus_maint.indexes import FINISHED
from argus_maint.jobs.acts import LOCK_WAIT, Outcome, Round
from argus_maint.jobs.pace import Pace

FIRST_STEP = 64  # pages
CACHE = 16 * 1024  # KiB: the list of free pages is searched at every step
TRIES = 6  # in a row that met a lock
ROWS_READ = 400  # of each index, by optimize


def tidy(round_: Round, table: str) -> None:
    """Do what this file needs."""
    with own_session(round_.using) as session:
        if session.is_in_memory_db():
            return
        with session.cursor() as cursor:
            cursor.execute(f"PRAGMA busy_timeout = {int(LOCK_WAIT * 1000)}")
            cursor.execute(f"PRAGMA cache_size = {-CACHE}")
            cursor.execute("PRAGMA wal_autocheckpoint = 0")
            file = file_of(session)
            if file.auto_vacuum == "incremental":
                _give_back(round_, cursor, file)
            if file.journal_mode == "wal":
                _checkpoint(round_, cursor, file_of(session))
            _optimize(round_, cursor, table)


def _give_back(round_: Round, cursor: Any, file: SqliteFile) -> None:
    surplus = file.free_pages - round_.storage.min_size // file.page_size
    before = file.file_bytes
    if surplus <= 0:
        return
    if round_.dry_run:
        after = before - surplus * file.page_size
        values = {"bytes_before": before, "bytes_after": after}
        round_.note("incremental_vacuum", Outcome.WOULD, **values)
        return
    began, stepper, outcome = now(), _Stepper(round_, cursor), Outcome.LATER
    try:
        outcome = stepper.give(surplus)
    finally:  # interrupted, it leaves a trace too
        round_.note(
            "incremental_vacuum",
            outcome,
            began,
            detail=stepper.summary(),
            bytes_before=before,
            bytes_after=pragma(cursor, "page_count") * file.page_size,
        )


class _Stepper:
    """Steps of a size that follows the time they take."""

    def __init__(self, round_: Round, cursor: Any) -> None:
        self.round, self.cursor = round_, cursor
        self.pace = Pace(round_.storage.target, round_.storage.duty, FIRST_STEP, least=1)
        self.steps = self.waits = 0
        self.longest = 0.0

    def give(self, surplus: int) -> Outcome:
        """Give back so many pages, or as many as there is time for."""
        given = 0
        while given < surplus:
            if not self.round.left:
                return Outcome.LATER
            try:
                done, held = self._step(min(self.pace.size, surplus - given))
            except OperationalError as error:
                if not is_locked(error):
                    raise
                self.waits, rest = self.waits + 1, self.pace.locked()
                if self.pace.refused == TRIES:
                    return Outcome.BLOCKED
            else:
                if not done:  # others have used the free pages
                    break
                given += done
                self.round.progress("giving free pages back", given, surplus)
                self.steps, self.longest = self.steps + 1, max(self.longest, held)
                self.pace.took(done, held)
                self.cursor.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                rest = self.pace.pause(held)
            time.sleep(min(rest, self.round.left))
        return Outcome.DONE

    def _step(self, pages: int) -> tuple[int, float]:
        """Pages given back, and seconds for which the lock was held."""
        cursor = self.cursor
        cursor.execute("BEGIN IMMEDIATE")
        began, free = now(), pragma(cursor, "freelist_count")
        try:
            # One by one: Python 3.11's sqlite3 ends the statement after its first page.
            for _ in range(min(pages, free)):
                cursor.execute("PRAGMA incremental_vacuum(1)").fetchall()
            done = free - pragma(cursor, "freelist_count")
            cursor.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(OperationalError):  # SQLite may have done so already
                cursor.execute("ROLLBACK")
            raise
        return done, now() - began

    def summary(self) -> str:
        """For the report."""
        locks = f", met a lock {self.waits} times" if self.waits else ""
        return f"{self.steps} steps, the longest held the lock {self.longest * 1000:.0f} ms{locks}"


def _checkpoint(round_: Round, cursor: Any, file: SqliteFile) -> None:
    if not file.wal_bytes:
        return
    if round_.dry_run:
        round_.note("checkpoint", Outcome.WOULD, bytes_before=file.wal_bytes)
        return
    began = now()
    busy, pages, written = cursor.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    detail = f"{written} of {pages} pages written back; a reader still needs the others"
    if busy:
        detail = "another process was at it"
    elif pages == written:
        cursor.execute("PRAGMA busy_timeout = 0")
        busy, *_ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        cursor.execute(f"PRAGMA busy_timeout = {int(LOCK_WAIT * 1000)}")
        kept = "the WAL kept its size, for it was in use"
        detail = f"{pages} pages written back; {kept if busy else 'the WAL is empty'}"
    round_.note("checkpoint", Outcome.DONE, began, detail=detail, bytes_before=file.wal_bytes)


def _optimize(round_: Round, cursor: Any, table: str) -> None:
    """ANALYZE of the task table where SQLite thinks that it pays."""
    # It looks only at tables for which this session has planned a query by statistics.
    quoted = table.replace('"', '""')
    cursor.execute(
        f"EXPLAIN SELECT id FROM \"{quoted}\" WHERE status = 'FAILED'"  # noqa: S608
        f" AND {FINISHED.condition} AND finished_at < '2000' ORDER BY finished_at"
    ).fetchall()
    cursor.execute(f"PRAGMA analysis_limit = {ROWS_READ}")
    wanted = [sql for (sql,) in cursor.execute("PRAGMA optimize(3)").fetchall()]
    if not wanted:
        return
    detail = f"ANALYZE of {len(wanted)} {'table' if len(wanted) == 1 else 'tables'}"
    if round_.dry_run:
        round_.note("optimize", Outcome.WOULD, detail=detail)
        return
    began = now()
    try:
        cursor.execute("PRAGMA optimize").fetchall()
    except OperationalError as error:
        round_.note("optimize", Outcome.BLOCKED, began, detail=str(error))
        return
    round_.note("optimize", Outcome.DONE, began, detail=detail)
