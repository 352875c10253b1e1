"""Storage: what the space of the task table needs after a prune, in one pass.

``make(errand)`` looks, acts, keeps a sample of the sizes and returns a ``Report``:

- SQLite (``shrink``): free pages go back to the disk where auto_vacuum is INCREMENTAL,
  the WAL is written back, ``PRAGMA optimize``.
- PostgreSQL (``reindex``): bloated indexes are rebuilt, invalid leftovers dropped.
- MariaDB: ``ANALYZE TABLE`` where the statistics are older than a day, which is known
  from ``mysql.innodb_table_stats``. It is not run where that cannot be read.

A pass ends at ``STORAGE["max_seconds"]``, waits for no lock longer than a moment, and
goes on next time. What no job can do is in ``Report.advice``. With ``dry_run`` nothing
is written.

Events, each with ``database``: ``storage.act`` for each act (incremental_vacuum, checkpoint,
optimize, reindex, drop_index, analyze), with its outcome, subject and bytes before and after;
``storage.sampled``;
``storage.long_transaction`` (pid and age); ``storage.passed`` at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.db import Error, OperationalError

from argus_maint.backends.space import Space, look
from argus_maint.clock import now
from argus_maint.conf import get_settings
from argus_maint.database import own_session, short_transaction
from argus_maint.dbtime import DbNow, db_now
from argus_maint.jobs import reindex, shrink
from argus_maint.jobs.acts import LOCK_WAIT, TROUBLES, Act, Outcome, Round, logger
from argus_maint.models import StorageSample
from argus_maint.observe.space import advice

DAY = 86_400.0
EVERY = timedelta(hours=1)
REST = timedelta(days=7)  # between two rebuilds of one index
KEPT = timedelta(days=400)
CHUNK = 1000  # old samples deleted in a pass: it makes one at most
BUSY = 10  # seconds: a query this old on MariaDB could make all others wait for ANALYZE
ANALYZE_LIMIT = 10  # seconds
LIMITS = (1205, 1969)  # what MariaDB raises where a lock, or a statement, took too long


@dataclass(frozen=True, slots=True)
class Errand:
    """What to do. ``max_seconds`` None means that of the setting."""

    using: str
    dry_run: bool = False
    max_seconds: float | None = None
    progress: Callable[[str, int, int], None] = lambda what, done, total: None


@dataclass(slots=True)
class Report:
    """What came of a pass."""

    dry_run: bool
    before: Space
    after: Space
    acts: list[Act] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)
    sampled: bool = False
    seconds: float = 0.0

    @property
    def could_not(self) -> list[Act]:
        """Acts that met a lock or an error."""
        return [each for each in self.acts if each.outcome in TROUBLES]


def make(errand: Errand) -> Report:
    """Make one pass."""
    began, storage, using = now(), get_settings().storage, errand.using
    limit = storage.max_seconds if errand.max_seconds is None else errand.max_seconds
    round_ = Round(using, storage, began + limit, errand.dry_run, errand.progress)
    before = look(using)
    for each in before.long_transactions:
        age = round(each.age)
        logger.warning("storage.long_transaction", database=using, pid=each.pid, age=age)
    rebuilt = _act(round_, before)
    report = Report(errand.dry_run, before, before, round_.acts)
    if not errand.dry_run:
        report.after = look(using)
        report.sampled = _sampled(round_, report.after, rebuilt)
    report.advice = advice(report.after, storage, using)
    report.seconds = now() - began
    if not errand.dry_run:
        _tell(report, using)
    return report


def _act(round_: Round, space: Space) -> dict[str, int]:
    """What this database needs; returns the indexes that were rebuilt."""
    if space.vendor == "sqlite":
        shrink.tidy(round_, space.table)
    elif space.vendor == "postgresql":
        return reindex.tidy(round_, space, _rebuilt_lately(space, round_.using))
    else:
        _analyze(round_, space)
    return {}


def _rebuilt_lately(space: Space, using: str) -> set[str]:
    samples = StorageSample.objects.using(using).filter(taken_at__gte=space.taken_at - REST)
    return {name for rebuilt in samples.values_list("rebuilt", flat=True) for name in rebuilt}


def _analyze(round_: Round, space: Space) -> None:
    if space.analyzed_ago is None or space.analyzed_ago < DAY:
        return
    values: dict[str, Any] = {"subject": space.table}
    if round_.dry_run:
        round_.note("analyze", Outcome.WOULD, **values)
        return
    began = now()
    with own_session(round_.using) as session, session.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM information_schema.processlist WHERE command = 'Query'"
            " AND id <> CONNECTION_ID() AND time > %s AND info LIKE %s",
            [BUSY, f"%{space.table}%"],
        )
        if busy := cursor.fetchone():
            why = f"thread {busy[0]} has read or written the table for over {BUSY} s"
            round_.note("analyze", Outcome.BLOCKED, detail=why, **values)
            return
        cursor.execute(f"SET lock_wait_timeout = {round(LOCK_WAIT)}")
        if session.mysql_is_mariadb:
            cursor.execute(f"SET max_statement_time = {ANALYZE_LIMIT}")
        try:
            # LOCAL: a replica looks after its own statistics.
            cursor.execute(f"ANALYZE LOCAL TABLE {session.ops.quote_name(space.table)}")
            said = [row for row in cursor.fetchall() if row[2] == "Error"]
        except Error as error:
            outcome = Outcome.BLOCKED if error.args[0] in LIMITS else Outcome.FAILED
            round_.note("analyze", outcome, began, detail=str(error), **values)
            return
    outcome = Outcome.FAILED if said else Outcome.DONE
    round_.note("analyze", outcome, began, detail="; ".join(row[3] for row in said), **values)


def _sampled(round_: Round, space: Space, rebuilt: dict[str, int]) -> bool:
    began = now()
    try:
        return _sample(space, rebuilt, round_.using)
    except OperationalError as error:  # a lock; where the database is gone nothing came this far
        round_.note("sample", Outcome.BLOCKED, began, detail=str(error))
        return False


def _sample(space: Space, rebuilt: dict[str, int], using: str) -> bool:
    """Keep a sample where there is none of this hour, and drop the oldest."""
    rows = StorageSample.objects.using(using)
    with short_transaction(using, LOCK_WAIT):
        moment = db_now(using)
        old = list(rows.filter(taken_at__lt=moment - KEPT).values_list("pk", flat=True)[:CHUNK])
        if old:
            rows.filter(pk__in=old).delete()
        # Not one from the future: the clock may have been wrong for a while.
        recent = rows.filter(taken_at__gt=moment - EVERY, taken_at__lte=moment)
        last = recent.order_by("-taken_at").first()
        if last is not None:
            if rebuilt:
                rows.filter(pk=last.pk).update(rebuilt={**last.rebuilt, **rebuilt})
            return False
        StorageSample(
            taken_at=DbNow(),
            table_bytes=space.table_bytes,
            index_bytes=space.index_bytes,
            free_bytes=space.free_bytes,
            rows_estimate=space.rows,
            measured=space.measured,
            rebuilt=rebuilt,
        ).save(using=using, force_insert=True)
    logger.info("storage.sampled", database=using, bytes=space.total_bytes, rows=space.rows)
    return True


def _tell(report: Report, using: str) -> None:
    logger.info(
        "storage.passed",
        database=using,
        acts=len(report.acts),
        could_not=len(report.could_not),
        advice=len(report.advice),
        bytes=report.after.total_bytes,
        free_bytes=report.after.free_bytes,
        seconds=round(report.seconds, 3),
    )
