"""The fence: a completion counts only from the attempt that still owns the row.

The write names status, ``worker_ids`` and ``started_at`` of the claim. Where it
matches nothing, the row is read again: this very outcome is there already (the reply
was lost), the row is gone, or it belongs to another and the write is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from traceback import format_exception
from typing import Any

from django.db import connections
from django.db.models import QuerySet
from django.db.models.signals import post_save
from django.db.models.sql import UpdateQuery
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from argus_maint.backends.database import FAILED, RUNNING, SUCCESSFUL, Attempt
from argus_maint.database import short_transaction
from argus_maint.dbtime import DbNow
from argus_maint.models import LedgerEntry


class Settled(Enum):
    """How a completion was received."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    GONE = "gone"


@dataclass(slots=True)
class Outcome:
    """What a task came to. The time is taken once, so that a repeated write is the same."""

    status: str
    return_value: Any
    exception_class_path: str
    traceback: str
    finished_at: datetime
    error: BaseException | None = None

    @classmethod
    def success(cls, value: Any) -> Outcome:
        """The task returned ``value``."""
        return cls(SUCCESSFUL, value, "", "", timezone.now())

    @classmethod
    def failure(cls, error: BaseException) -> Outcome:
        """The task, or the way to it, raised ``error``."""
        path = f"{type(error).__module__}.{type(error).__qualname__}"
        text = "".join(format_exception(error))
        # A NUL or half a surrogate pair in it, which no text column holds, must not make the
        # failure look like another.
        text = text.replace("\0", "\\x00").encode(errors="backslashreplace").decode()
        return cls(FAILED, None, path, text, timezone.now(), error)

    def columns(self) -> dict[str, Any]:
        """The columns that a completion writes."""
        return {
            "status": self.status,
            "finished_at": self.finished_at,
            "return_value": self.return_value,
            "exception_class_path": self.exception_class_path,
            "traceback": self.traceback,
        }


def attempt_of(row: DBTaskResult) -> Attempt:
    """The identity of the attempt that a claim gave us."""
    return Attempt(
        task_id=row.pk,
        task_path=row.task_path,
        queue_name=row.queue_name,
        backend_name=row.backend_name,
        status=RUNNING,
        worker_ids=tuple(row.worker_ids),
        started_at=row.started_at,
    )


def complete(
    row: DBTaskResult, attempt: Attempt, outcome: Outcome, using: str, wait: float
) -> Settled:
    """Write the outcome if the attempt still owns its row. Safe to repeat after an error.

    ``wait``: seconds for a lock on the row, before the error of the database says so.
    """
    columns = outcome.columns()
    updated = _update(attempt.rows(using), columns, using, wait)
    if not updated and not recorded(attempt, outcome, using):
        there = DBTaskResult.objects.using(using).filter(pk=attempt.task_id).exists()
        return Settled.REFUSED if there else Settled.GONE
    for name, value in columns.items():
        setattr(row, name, value)
    # The stock worker saves the instance, and a site may listen to that.
    post_save.send_robust(
        sender=DBTaskResult,
        instance=row,
        created=False,
        update_fields=frozenset(columns),
        raw=False,
        using=using,
    )
    return Settled.ACCEPTED


def _update(rows: QuerySet[DBTaskResult], columns: dict[str, Any], using: str, wait: float) -> int:
    """One statement that the server finishes by itself, and that waits for no lock for long.

    Who waits longer than a lease is ended as stuck, and what the task came to is gone.
    """
    connection: Any = connections[using]
    if connection.vendor == "postgresql":
        # Both in one message, which is one transaction; it needs client-side parameters.
        usable = not connection.settings_dict["OPTIONS"].get("server_side_binding")
        prefix = f"SET LOCAL lock_timeout = {int(wait * 1000)}; " if usable else ""
    elif connection.vendor == "mysql" and connection.mysql_is_mariadb:
        names = ("lock_wait_timeout", "innodb_lock_wait_timeout")
        prefix = f"SET STATEMENT {', '.join(f'{n} = {int(wait)}' for n in names)} FOR "
    else:
        prefix = ""
    if not prefix:
        return rows.update(**columns)
    query: Any = rows.query.chain(UpdateQuery)
    query.add_update_values(columns)
    sql, params = query.get_compiler(using).as_sql()
    with connection.cursor() as cursor:
        cursor.execute(prefix + sql, params)
        while connection.vendor == "postgresql" and cursor.nextset():
            pass
        return int(cursor.rowcount)


def recorded(attempt: Attempt, outcome: Outcome, using: str) -> bool:
    """Whether this very outcome was written by a try whose reply was lost."""
    rows = replace(attempt, status=outcome.status).rows(using)
    return rows.filter(finished_at=outcome.finished_at).exists()


def record_refusal(attempt: Attempt, outcome: Outcome, noticed_by: str, using: str) -> None:
    """Put a refused completion into the ledger."""
    with short_transaction(using, 1.0):
        attempt.entry(
            verdict=LedgerEntry.Verdict.ZOMBIE,
            action=LedgerEntry.Action.REFUSED,
            evidence=f"its {outcome.status} came after the attempt had lost the task",
            noticed_by=noticed_by,
            acted_at=DbNow(),
        ).save(using=using, force_insert=True)
