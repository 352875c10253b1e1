"""Which finished tasks are past their retention, as steps that a database can take.

Every age that the retention names divides time: what finished before the longest of them,
what between that and the next, and so on. In one such stretch it depends only on what a
task is (status, quarantined, queue, path), not on when it finished, so a stretch is a
``Step``: a walk with one condition. Only patterns of task paths are beyond the database's
comparison; they are matched here, row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from django.conf import settings
from django.db import connections
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from argus_maint.backends import local_db
from argus_maint.backends.database import FAILED, SUCCESSFUL, running
from argus_maint.backends.walk import Condition, Source, Walk, any_of, one_of
from argus_maint.conf import get_settings
from argus_maint.dbtime import db_now
from argus_maint.exceptions import TaskQuarantined
from argus_maint.models import Act, Finding, LedgerEntry, Process, Run
from argus_maint.retention import Retention
from argus_maint.scheduling.ledger import to_column, utc_now

QUARANTINED = f"{TaskQuarantined.__module__}.{TaskQuarantined.__qualname__}"
KINDS = {SUCCESSFUL: ("successful",), FAILED: ("failed", "quarantined")}  # by status


@dataclass(frozen=True, slots=True)
class Selection:
    """What a prune is about. What is left empty does not narrow."""

    retention: Retention
    backend: str = ""
    queues: tuple[str, ...] = ()
    pattern: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One stretch of time of one status; of a table of our own where there is none."""

    status: str
    source: Source
    begin: datetime | None  # what finished until then is another step's
    until: datetime
    condition: Condition
    # (kind, queue, path) -> whether it goes; None where the condition says it all
    chooses: Callable[[str, str, str], bool] | None = None

    @property
    def name(self) -> str:
        """What its rows are counted under."""
        return self.status or self.source.table.strip('"`')

    def walk(self, using: str) -> Walk:
        """Through its rows."""
        return Walk(self.source, self.until, using, self.begin, self.condition)

    def takes(self, queue: str, path: str, exception: str) -> bool:
        """Whether a task that meets the condition goes."""
        return self.chooses is None or self.chooses(kind_of(self.status, exception), queue, path)


def kind_of(status: str, exception: str) -> str:
    """The kind of a finished task, as the retention names it."""
    if status == SUCCESSFUL:
        return "successful"
    return "quarantined" if exception == QUARANTINED else "failed"


def now_of(using: str) -> datetime:
    """The earlier of two clocks: a host whose own is ahead must not delete too early."""
    host, database = timezone.now(), db_now(using)
    if settings.USE_TZ is False:
        return host  # both are local times, of zones that may differ
    return min(host, database)


def finished(status: str, using: str) -> Source:
    """Tasks of one status in the order in which they finished."""
    table = connections[using].ops.quote_name(DBTaskResult._meta.db_table)
    fixed = Condition("status = %s", (status,))
    return Source(table, "finished_at", "id", fixed, local_db.dependents(using))


def steps(selection: Selection, using: str) -> Iterator[Step]:
    """All there is to do, the oldest of each status first."""
    now, retention = now_of(using), selection.retention
    # MariaDB's usual collations take "bulk", "Bulk" and "b\u00fclk" for one.
    exactly = "BINARY " if connections[using].vendor == "mysql" else ""
    for status, kinds in KINDS.items():
        begin, ages = None, {age for kind in kinds for age in retention.all_ages(kind)}
        for age in sorted(ages, reverse=True):
            until = now - timedelta(seconds=age)
            condition, chooses = _what_goes(selection, kinds, age, exactly)
            if condition is not None:
                yield Step(status, finished(status, using), begin, until, condition, chooses)
            begin = until


def _what_goes(
    selection: Selection, kinds: tuple[str, ...], age: float, exactly: str
) -> tuple[Condition | None, Callable[[str, str, str], bool] | None]:
    """The condition for rows of this age, and who has the last word."""
    retention = selection.retention
    where = Condition()
    if selection.backend:
        where &= one_of(f"{exactly}backend_name", [selection.backend])
    if selection.queues:
        where &= one_of(f"{exactly}queue_name", selection.queues)

    def goes(kind: str, queue: str, path: str) -> bool:
        matches = not selection.pattern or fnmatchcase(path, selection.pattern)
        return matches and retention.goes(age, kind, queue, path)

    if retention.tasks or selection.pattern:
        return where, goes
    each = [
        _of_kind(kind) & rule
        for kind in kinds
        if (rule := _by_queue(retention, kind, age, f"{exactly}queue_name")) is not None
    ]
    return (where & any_of(each) if each else None), None


def _of_kind(kind: str) -> Condition:
    if kind == "successful":  # the only one of its status
        return Condition()
    sign = "=" if kind == "quarantined" else "<>"
    return Condition(f"exception_class_path {sign} %s", (QUARANTINED,))


def _by_queue(retention: Retention, kind: str, age: float, column: str) -> Condition | None:
    """Which queues' rows of a kind go at this age; None: of no queue."""
    usual = retention.goes(age, kind, "")
    others = [queue for queue, _ in retention.queues if retention.goes(age, kind, queue) != usual]
    return one_of(column, others, negate=usual) if usual or others else None


def own_steps(using: str) -> Iterator[Step]:
    """Rows of our own tables past their retention, by the database's clock."""
    config, now = get_settings(), db_now(using)
    quote = connections[using].ops.quote_name
    ledger = Source(quote(LedgerEntry._meta.db_table), "acted_at")
    acts = Source(quote(Act._meta.db_table), "acted_at")
    until = now - timedelta(seconds=config.retention.ledger)
    yield Step("", ledger, None, until, Condition())
    yield Step("", acts, None, until, Condition())
    closed = Source(
        quote(Finding._meta.db_table),
        "closed_at",
        "id",
        Condition("state = %s", (Finding.State.CLOSED.value,)),
    )
    until = now - timedelta(seconds=config.retention.findings)
    yield Step("", closed, None, until, Condition())
    # A process that still owns a RUNNING task stays: its row is the evidence against it.
    ended = Condition("state = %s", (Process.State.ENDED.value,))
    processes = Source(quote(Process._meta.db_table), "ended_at", "id", ended)
    until = now - timedelta(seconds=config.process_retention)
    owners = sorted({attempt.owner for attempt in running(using)})
    others = one_of("worker_id", owners, negate=True)
    yield Step("", processes, None, until, others)
    # A job's newest tick stays: from it on its next one counts.
    over = Condition("state <> %s", (Run.State.RUNNING.value,))
    runs = Source(quote(Run._meta.db_table), "started_at", "id", over)
    until = now - timedelta(seconds=config.retention.runs)
    yield Step("", runs, None, until, _not_the_newest(using))


def _not_the_newest(using: str) -> Condition:
    # Up to now, as the scheduler looks: a clock that was ahead may have left later ones.
    rows = Run.objects.using(using).filter(tick__lte=to_column(utc_now(using)))
    jobs = rows.order_by("job").values_list("job", flat=True).distinct()
    newest = (rows.filter(job=job).order_by("-tick").first() for job in jobs)
    return one_of("id", [run.pk for run in newest if run is not None], negate=True)
