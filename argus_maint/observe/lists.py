"""Which tasks there are, for ``maint tasks``: one line each, of every state.

``gather`` returns ``Listed`` tasks, plain data. Unfinished tasks are found by index;
a list of finished ones reads the whole table once.

States: ready, scheduled (READY, and not due yet), running, lost, unregistered, overdue,
failed, quarantined (FAILED with TaskQuarantined), successful. Without one, all that have
not finished.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from argus_maint.backends import search
from argus_maint.backends.database import FAILED, SUCCESSFUL, Attempt
from argus_maint.backends.search import Filter, Row
from argus_maint.exceptions import TaskQuarantined
from argus_maint.observe.census import Census, Running, label, take
from argus_maint.observe.history import iso

UNFINISHED = ("running", "lost", "unregistered", "overdue")
STATES = ("ready", "scheduled", *UNFINISHED, "failed", "quarantined", "successful")
QUARANTINED = f"{TaskQuarantined.__module__}.{TaskQuarantined.__qualname__}"


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of the list."""

    attempt: Attempt
    state: str
    age: float | None  # seconds in this state; negative: seconds until it is due
    since: datetime | None
    worker: str
    exception: str = ""
    overdue: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "task_id": str(self.attempt.task_id),
            "state": self.state,
            "overdue": self.overdue,
            "task": self.attempt.task_path,
            "queue": self.attempt.queue_name,
            "backend": self.attempt.backend_name,
            "attempt": self.attempt.number,
            "worker_id": self.attempt.owner,
            "since": iso(self.since),
            "age_approx": None if self.age is None else round(self.age, 3),
            "exception": self.exception or None,
        }


@dataclass(frozen=True, slots=True)
class Listing:
    """What was found, and whether there is more."""

    tasks: list[Listed]
    more: bool

    def as_dict(self) -> dict[str, Any]:
        """The JSON form (``schemas/tasks.json``)."""
        return {
            "kind": "argus_maint.tasks",
            "version": 1,
            "tasks": [each.as_dict() for each in self.tasks],
            "truncated": self.more,
        }


def gather(
    using: str, wanted: Filter, state: str = "", older_than: float | None = None, most: int = 50
) -> Listing:
    """The first ``most`` tasks of a state (or unfinished), that ``wanted`` matches."""
    now = timezone.now()
    before = None if older_than is None else now - timedelta(seconds=older_than)
    found: list[Listed] = []
    if state in ("", *UNFINISHED):
        found += _running(using, wanted, state, older_than)
    for each in ("ready", "scheduled"):
        if state in ("", each) and len(found) <= most:
            rows = search.ready(using, each == "scheduled", before)
            found += [_ready(row, now) for row in search.first(rows, wanted, most + 1)]
    if state in ("failed", "quarantined", "successful"):
        status = SUCCESSFUL if state == "successful" else FAILED
        rows = search.finished(using, status, older_than=before)
        if state == "quarantined":
            rows = rows.filter(exception_class_path=QUARANTINED)
        found += [_finished(row, now) for row in search.first(rows, wanted, most + 1)]
    return Listing(found[:most], more=len(found) > most)


def _running(using: str, wanted: Filter, state: str, older_than: float | None) -> list[Listed]:
    census = take(using, wanted.backend)
    # "running" means all that are RUNNING: a person looks for the row, not for our verdict.
    chosen = census.running if state in ("", "running") else census.of_state(state)
    listed = [_of(each, census) for each in chosen if wanted.matches(each.attempt)]
    if older_than is not None:
        listed = [each for each in listed if (each.age or 0.0) >= older_than]
    return sorted(listed, key=lambda each: -(each.age or 0.0))


def _of(each: Running, census: Census) -> Listed:
    """A RUNNING task; the age of an unregistered one counts from our own first look."""
    age, since = each.running_for(census.host_now), each.attempt.started_at
    if each.state == "unregistered":
        since = each.first_seen_at
        age = None if since is None else (census.taken_at - since).total_seconds()
    return Listed(each.attempt, each.state, age, since, each.worker, overdue=bool(each.overdue))


def _ready(row: Row, now: datetime) -> Listed:
    if row.is_scheduled(now):
        assert row.run_after is not None
        wait = (now - row.run_after).total_seconds()
        return Listed(row.attempt, "scheduled", wait, row.run_after, _last_worker(row))
    return Listed(row.attempt, "ready", _age(row.enqueued_at, now), row.enqueued_at, "")


def _finished(row: Row, now: datetime) -> Listed:
    return Listed(
        row.attempt,
        row.attempt.status.lower(),
        _age(row.finished_at, now),
        row.finished_at,
        _last_worker(row),
        row.exception,
    )


def _last_worker(row: Row) -> str:
    return label(row.attempt.owner)


def _age(moment: datetime | None, now: datetime) -> float | None:
    return None if moment is None else max(0.0, (now - moment).total_seconds())
