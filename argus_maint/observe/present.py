"""What a task is now, for ``maint history --task``. Its arguments and result stay unread:
they may hold what is nobody's business.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.timezone import localtime
from django_tasks_db.models import DBTaskResult

from argus_maint.backends import adapters
from argus_maint.backends.adapters.base import in_one_line
from argus_maint.backends.search import Row, by_ids
from argus_maint.observe.history import iso


@dataclass(frozen=True, slots=True)
class Present:
    """A row of the task table; its times are the neighbour's."""

    row: Row
    traceback: str

    @property
    def since(self) -> datetime | None:
        """When it came into its state, as far as the row says."""
        attempt, row = self.row.attempt, self.row
        since = {"READY": row.enqueued_at, "RUNNING": attempt.started_at}
        return since.get(attempt.status, row.finished_at)

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        attempt, row = self.row.attempt, self.row
        return {
            "task_id": str(attempt.task_id),
            "task": attempt.task_path,
            "queue": attempt.queue_name,
            "backend": attempt.backend_name,
            "status": attempt.status,
            "attempt": attempt.number,
            "worker_id": attempt.owner,
            "enqueued_at": iso(row.enqueued_at),
            "run_after": iso(row.run_after),
            "started_at": iso(attempt.started_at),
            "finished_at": iso(row.finished_at),
            "exception": row.exception or None,
            "traceback": self.traceback or None,
        }


def look(task_id: uuid.UUID, using: str) -> Present | None:
    """The task as it is now; None where its row is gone."""
    rows = by_ids([task_id], using)
    text = DBTaskResult.objects.using(using).filter(pk=task_id).values_list("traceback", flat=True)
    return Present(rows[0], text.first() or "") if rows else None


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A task of an alias that keeps its tasks elsewhere: in words what it is now, and why."""

    words: str
    path: str = ""
    queue: str = ""
    traceback: str = ""


def elsewhere(task_id: str, alias: str, using: str) -> Elsewhere | None:
    """None for an alias of the task table, and for one that TASKS has not."""
    adapter = next(iter(adapters.elsewhere(using, alias)), None) if alias else None
    if adapter is None:
        return None
    if not adapter.supports_tasks:
        return Elsewhere(f"see backend {alias}")
    try:
        task = adapter.task(task_id)
    except Exception as error:  # noqa: BLE001 - told, beside what our own record has
        return Elsewhere(f"not known: {alias}: {in_one_line(error)}")
    if task is None:
        return Elsewhere(f"gone: backend {alias} has it no more")
    since = f" since {localtime(task.since):%Y-%m-%d %H:%M:%S %Z}" if task.since is not None else ""
    words = task.status + (f" with {task.error}" if task.error else "") + since
    handle = task.handle
    return Elsewhere(words, handle.task_path, handle.queue_name, task.traceback)
