"""The task table of django-tasks-db: reading it, and changing one task at a time.

Every change names the attempt it is about in its WHERE clause (status, ``worker_ids``
and ``started_at`` as they were read), so two that act on one task cannot both
succeed, on any database and without row locks. The ledger entry is written in the
same transaction.

The neighbour's own times (``started_at``, ``finished_at``, ``run_after``) are host
time and are written as such; no verdict is taken from them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connections
from django.db.models import Case, Count, F, Min, Q, QuerySet, TextField, Value, When
from django.db.models.functions import Concat, Greatest
from django.utils import timezone
from django_tasks_db.models import DBTaskResult, get_date_max

from argus_maint.database import short_transaction
from argus_maint.dbtime import DbNow, db_now
from argus_maint.models import LedgerEntry

READY, RUNNING, FAILED, SUCCESSFUL = "READY", "RUNNING", "FAILED", "SUCCESSFUL"
LOCK_WAIT = 1.0  # seconds a rescue waits for a row before it goes on to the next


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at one task, as it was read: the identity a change must match."""

    task_id: UUID
    task_path: str
    queue_name: str
    backend_name: str
    status: str
    worker_ids: tuple[str, ...]
    started_at: datetime | None
    odd: Any = field(default=None, compare=False)  # worker_ids, where it is no list of strings

    @property
    def owner(self) -> str:
        """The worker id of the last claim; empty when it was never claimed."""
        return self.worker_ids[-1] if self.worker_ids else ""

    @property
    def number(self) -> int:
        """Attempt number: 1 for the first claim."""
        return len(self.worker_ids)

    def entry(self, **values: Any) -> LedgerEntry:
        """A ledger entry about this attempt, unsaved."""
        return LedgerEntry(
            task_id=self.task_id,
            task_path=self.task_path,
            queue_name=self.queue_name,
            backend_name=self.backend_name,
            attempt=self.number,
            worker_id=self.owner[:128],
            **values,
        )

    def rows(self, using: str) -> QuerySet[DBTaskResult]:
        """The row, if it is still at this very attempt."""
        return DBTaskResult.objects.using(using).filter(
            pk=self.task_id,
            status=self.status,
            worker_ids=list(self.worker_ids) if self.odd is None else self.odd,
            started_at=self.started_at,
        )


ATTEMPT_COLUMNS = (
    "pk",
    "task_path",
    "queue_name",
    "backend_name",
    "status",
    "worker_ids",
    "started_at",
)


def read_attempt(columns: Sequence[Any]) -> Attempt:
    """The attempt in the values of ``ATTEMPT_COLUMNS``; its worker ids as strings."""
    pk, path, queue, backend, status, stored, started = columns
    ids = tuple(str(worker) for worker in stored) if isinstance(stored, list) else ()
    odd = None if list(ids) == stored else stored
    return Attempt(pk, path, queue, backend, status, ids, started, odd)


def attempts(rows: QuerySet[DBTaskResult]) -> Iterator[Attempt]:
    """Read rows as attempts, light enough for any number of them."""
    # No iterator(): its server-side cursor breaks behind a transaction-pooling proxy.
    return map(read_attempt, rows.order_by("pk").values_list(*ATTEMPT_COLUMNS))


def running(using: str) -> Iterator[Attempt]:
    """Every RUNNING task."""
    return attempts(DBTaskResult.objects.using(using).filter(status=RUNNING))


def losses(task_id: UUID, using: str) -> int:
    """Counted losses of a task since a person last put it back.

    A loss that was counted is no pardon, though a person had put the worker down as dead.
    """
    entries = LedgerEntry.objects.using(using).filter(task_id=task_id)
    pardon = (
        entries.filter(
            verdict=LedgerEntry.Verdict.MANUAL,
            action=LedgerEntry.Action.REQUEUED,
            counted=False,
        )
        .order_by("-pk")
        .values_list("pk", flat=True)
        .first()
    )
    return entries.filter(counted=True, pk__gt=pardon or 0).count()


def _changed(attempt: Attempt, using: str, entry: LedgerEntry, **values: Any) -> bool:
    """Update the attempt's row and write the ledger entry, both or neither."""
    return _written(attempt.rows(using), using, entry, **values)


def _written(rows: QuerySet[DBTaskResult], using: str, entry: LedgerEntry, **values: Any) -> bool:
    with short_transaction(using, LOCK_WAIT):
        if connections[using].features.has_select_for_update_skip_locked:
            # A row that another holds is left for the next pass instead of waited for.
            locked = rows.select_for_update(skip_locked=True)
            if not locked.values_list("pk").first():
                return False
        if not rows.update(**values):
            return False
        entry.acted_at = DbNow()
        entry.save(using=using, force_insert=True)
    return True


def requeue(
    attempt: Attempt,
    using: str,
    entry: LedgerEntry,
    delay: float = 0,
    before: str | None = None,
) -> bool:
    """Make the task READY again after ``delay`` seconds; ``worker_ids`` stays.

    ``before`` is the exception class that a FAILED one was read with: a discard by another
    changes nothing else. Returns False, and leaves no trace, when the row is no longer at this
    attempt or another transaction holds it.
    """
    values: dict[str, Any] = {"status": READY}
    if delay > 0:
        # By the database's clock: a rescuer whose own is an hour ahead would hide the task.
        now = db_now(using) if settings.USE_TZ else timezone.now()
        values["run_after"] = now + timedelta(seconds=delay)
    elif attempt.status != RUNNING:
        values["run_after"] = get_date_max()
    if attempt.status in (FAILED, SUCCESSFUL):
        values.update(finished_at=None, exception_class_path="", traceback="", return_value=None)
    rows = attempt.rows(using)
    if before is not None:
        rows = rows.filter(exception_class_path=before)
    return _written(rows, using, entry, **values)


def fail(attempt: Attempt, using: str, entry: LedgerEntry, error: type, evidence: str) -> bool:
    """Mark the task FAILED with ``error`` and the evidence as its traceback text.

    Returns False as ``requeue`` does. Sending ``task_finished`` is the caller's part.
    """
    path = f"{error.__module__}.{error.__qualname__}"
    return _changed(
        attempt,
        using,
        entry,
        status=FAILED,
        finished_at=timezone.now(),
        exception_class_path=path,
        traceback=f"{path}: {evidence}\n",
        return_value=None,
    )


def adjust(attempt: Attempt, using: str, entry: LedgerEntry, **values: Any) -> bool:
    """Change the queue or the priority of a READY task; a claim of it comes before or after.

    Returns False as ``requeue`` does, and where it is in another queue by now.
    """
    rows = attempt.rows(using).filter(queue_name=attempt.queue_name)
    return _written(rows, using, entry, **values)


def see_to(
    attempt: Attempt, using: str, entry: LedgerEntry, error: type, before: str, evidence: str
) -> bool:
    """Give a FAILED task another exception class; its old error stays in the traceback.

    ``before`` is the class it was read with. It is no new end: the time of its failure
    stays, and nothing is to be announced. Returns False as ``requeue`` does.
    """
    path = f"{error.__module__}.{error.__qualname__}"
    head = Value(f"{path}: {evidence}\n\nBefore that:\n\n", output_field=TextField())
    rows = attempt.rows(using).filter(exception_class_path=before)
    values = {"exception_class_path": path, "traceback": Concat(head, F("traceback"))}
    return _written(rows, using, entry, **values)


def still_there(attempt: Attempt, using: str) -> bool:
    """Whether the row is still at this attempt (so a change that failed met a lock)."""
    # Compared here and not in the WHERE clause: SQLite compares JSON as text, and a list
    # that somebody wrote with other spaces must not make the row invisible.
    return attempt in attempts(DBTaskResult.objects.using(using).filter(pk=attempt.task_id))


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """One queue of one backend alias."""

    backend_name: str
    queue_name: str
    ready: int
    scheduled: int
    running: int
    oldest_ready_at: datetime | None  # when it was enqueued, or due; host time of the enqueuer


def queue_counts(using: str) -> list[QueueCounts]:
    """READY and RUNNING by queue, from the indexes that hold only such rows."""
    table = DBTaskResult.objects.using(using).order_by()
    due = Q(run_after=get_date_max()) | Q(run_after__lte=timezone.now())
    # A task that was enqueued yesterday for now has not waited since yesterday.
    since = Case(
        When(run_after=get_date_max(), then=F("enqueued_at")),
        default=Greatest("enqueued_at", "run_after"),
    )
    counts: dict[tuple[str, str], dict[str, Any]] = {}
    ready = table.filter(status=READY).values("backend_name", "queue_name")
    for row in ready.annotate(
        due=Count("pk", filter=due),
        later=Count("pk", filter=~due),
        oldest=Min(since, filter=due),
    ):
        counts[row["backend_name"], row["queue_name"]] = {
            "ready": row["due"],
            "scheduled": row["later"],
            "oldest_ready_at": row["oldest"],
        }
    busy = table.filter(status=RUNNING).values_list("backend_name", "queue_name")
    for backend, queue, number in busy.annotate(number=Count("pk")):
        counts.setdefault((backend, queue), {})["running"] = number
    empty = {"ready": 0, "scheduled": 0, "running": 0, "oldest_ready_at": None}
    return [
        QueueCounts(backend, queue, **{**empty, **values})
        for (backend, queue), values in sorted(counts.items())
    ]
