"""Reading the ledger: what was done to which task, newest first."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from django.db import connections
from django.db.models import Q, QuerySet

from argus_maint.backends.search import with_prefix
from argus_maint.models import LedgerEntry

RESCUES = {  # a watcher acted on a lost task, without a person
    LedgerEntry.Verdict.EXITED,
    LedgerEntry.Verdict.EXPIRED,
    LedgerEntry.Verdict.ORPHANED,
    LedgerEntry.Verdict.UNREGISTERED,
}
RECENT = 200  # entries looked at to find the last rescues


@dataclass(frozen=True, slots=True)
class Query:
    """Which entries are wanted. What is left empty does not narrow."""

    task_id: uuid.UUID | None = None
    since: datetime | None = None  # database time
    worker: str = ""
    by: str = ""
    action: str = ""
    backend: str = ""

    def rows(self, using: str) -> QuerySet[LedgerEntry]:
        """Matching entries, newest first."""
        rows = LedgerEntry.objects.using(using).order_by("-acted_at", "-pk")
        if self.task_id is not None:
            rows = rows.filter(task_id=self.task_id)
        if self.since is not None:
            rows = rows.filter(acted_at__gte=self.since)
        if self.worker:  # a supervisor's name, a worker's name.number, or a whole worker id
            name, _, number = self.worker.rpartition(".")
            ours = Q(worker_id=self.worker) | Q(worker_id__startswith=f"{self.worker}.")
            if name and number.isdigit():
                ours |= Q(worker_id__startswith=f"{name}.", worker_id__endswith=f".{number}")
            rows = rows.filter(ours)
        if self.by:  # a person or a supervisor, on any host or on one
            rows = rows.filter(Q(noticed_by=self.by) | Q(noticed_by__startswith=f"{self.by}@"))
        if self.action:
            rows = rows.filter(action=self.action)
        if self.backend:
            rows = rows.filter(backend_name=self.backend)
        return rows


def tasks_with_prefix(hexdigits: str, using: str, most: int) -> list[tuple[uuid.UUID, str]]:
    """Up to ``most`` tasks in the ledger whose id begins so, as (id, path)."""
    condition = with_prefix(hexdigits, "task_id", connections[using])
    rows = LedgerEntry.objects.using(using).filter(condition).order_by("task_id")
    return list(rows.values_list("task_id", "task_path").distinct()[:most])


def last_rescues(using: str, most: int, backend: str = "") -> list[LedgerEntry]:
    """The newest rescues among the newest entries."""
    # By key, which is as good as by time here and needs no sort on any database.
    newest = Query(backend=backend).rows(using).order_by("-pk")[:RECENT]
    return [entry for entry in newest if entry.verdict in RESCUES][:most]


def after(entry: LedgerEntry) -> float | None:
    """Seconds from the last proof of life to the act."""
    if entry.last_proof_of_life is None:
        return None
    return max(0.0, (entry.acted_at - entry.last_proof_of_life).total_seconds())


def iso(moment: datetime | None) -> str | None:
    """A time as JSON holds it: UTC where the site uses time zones."""
    if moment is None:
        return None
    return (moment.astimezone(timezone.utc) if moment.tzinfo else moment).isoformat()


def as_dicts(entries: Iterable[LedgerEntry]) -> list[dict[str, Any]]:
    """Entries as the JSON output has them."""
    return [as_dict(entry) for entry in entries]


def as_dict(entry: LedgerEntry) -> dict[str, Any]:
    """One entry; what a dry run has not done has no ``acted_at``."""
    done = isinstance(entry.acted_at, datetime)
    return {
        "task_id": entry.task_key or str(entry.task_id),
        "task": entry.task_path,
        "queue": entry.queue_name,
        "backend": entry.backend_name,
        "attempt": entry.attempt,
        "worker_id": entry.worker_id,
        "host": entry.host,
        "verdict": str(entry.verdict),
        "action": str(entry.action),
        "reason": entry.reason,
        "exit_signal": entry.exit_signal,
        "exit_status": entry.exit_status,
        "counted": entry.counted,
        "losses": entry.losses,
        "delay": entry.delay,
        "noticed_by": entry.noticed_by,
        "last_proof_of_life": iso(entry.last_proof_of_life),
        "acted_at": iso(entry.acted_at) if done else None,
        "acted_after": after(entry) if done else None,
        "evidence": entry.evidence,
    }
