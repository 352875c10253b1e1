"""Which tasks there are, for ``maint tasks``: one line each, of every state.

``gather`` returns ``Listed`` tasks, plain data, those of the task table first. Unfinished tasks
are found by index; a list of finished ones reads the whole table once. Other backends are asked
for as many as are wanted; who does not answer is in ``troubles``.

States: ready, scheduled (READY, and not due yet), running, lost, unregistered, overdue,
failed, quarantined (FAILED with TaskQuarantined), successful. Without one, all that have
not finished.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from argus_maint.backends import search
from argus_maint.backends.adapters import elsewhere
from argus_maint.backends.adapters.base import Adapter, Task, trouble_with
from argus_maint.backends.database import FAILED, READY, RUNNING, SUCCESSFUL, Attempt
from argus_maint.backends.search import Filter, Row
from argus_maint.exceptions import TaskQuarantined
from argus_maint.observe.census import Census, Running, label, take
from argus_maint.observe.history import iso

LOOKED = 10_000  # tasks of another backend that are looked at for those that are meant
UNFINISHED = ("running", "lost", "unregistered", "overdue")
STATES = ("ready", "scheduled", *UNFINISHED, "failed", "quarantined", "successful")
QUARANTINED = f"{TaskQuarantined.__module__}.{TaskQuarantined.__qualname__}"


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of the list."""

    task_id: str
    task: str
    queue: str
    backend: str
    attempt: int
    worker_id: str
    state: str
    age: float | None  # seconds in this state; negative: seconds until it is due
    since: datetime | None
    worker: str
    exception: str = ""
    overdue: bool = False
    in_table: bool = True

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "task_id": self.task_id,
            "state": self.state,
            "overdue": self.overdue,
            "task": self.task,
            "queue": self.queue,
            "backend": self.backend,
            "attempt": self.attempt,
            "worker_id": self.worker_id,
            "since": iso(self.since),
            "age_approx": None if self.age is None else round(self.age, 3),
            "exception": self.exception or None,
        }


@dataclass(frozen=True, slots=True)
class Listing:
    """What was found, and whether there is more."""

    tasks: list[Listed]
    more: bool
    troubles: list[str]

    def as_dict(self) -> dict[str, Any]:
        """The JSON form (``schemas/tasks.json``)."""
        return {
            "kind": "argus_maint.tasks",
            "version": 1,
            "tasks": [each.as_dict() for each in self.tasks],
            "truncated": self.more,
            "not_asked": self.troubles,
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
    others = _Elsewhere(using, wanted, now, before, most + 1)
    found += others.listed(state)
    return Listing(found[:most], len(found) > most or others.more, others.troubles)


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
    return _row(each.attempt, each.state, age, since, each.worker, overdue=bool(each.overdue))


def _ready(row: Row, now: datetime) -> Listed:
    if row.is_scheduled(now):
        assert row.run_after is not None
        wait = (now - row.run_after).total_seconds()
        return _row(row.attempt, "scheduled", wait, row.run_after, _last_worker(row))
    return _row(row.attempt, "ready", _age(row.enqueued_at, now), row.enqueued_at, "")


def _finished(row: Row, now: datetime) -> Listed:
    return _row(
        row.attempt,
        row.attempt.status.lower(),
        _age(row.finished_at, now),
        row.finished_at,
        _last_worker(row),
        row.exception,
    )


def _row(attempt: Attempt, *values: Any, **more: Any) -> Listed:
    return Listed(
        str(attempt.task_id),
        attempt.task_path,
        attempt.queue_name,
        attempt.backend_name,
        attempt.number,
        attempt.owner,
        *values,
        **more,
    )


def _last_worker(row: Row) -> str:
    return label(row.attempt.owner)


def _age(moment: datetime | None, now: datetime) -> float | None:
    return None if moment is None else max(0.0, (now - moment).total_seconds())


class _Elsewhere:
    """Tasks of the aliases that keep theirs elsewhere than in the task table."""

    def __init__(
        self, using: str, wanted: Filter, now: datetime, before: datetime | None, most: int
    ) -> None:
        self.wanted, self.now, self.before = wanted, now, before
        # What is not meant is left out of what was read.
        self.most = most if wanted == Filter(backend=wanted.backend) and not before else LOOKED
        self.adapters = elsewhere(using, wanted.backend)
        self.troubles: list[str] = []
        self.more = False  # than were looked at

    def listed(self, state: str) -> list[Listed]:
        """Those of a state, or unfinished."""
        found: list[Listed] = []
        for adapter in self.adapters:
            try:
                found += [each for each in self._of(adapter, state) if self._is_meant(each)]
            except Exception as error:  # noqa: BLE001 - told
                self.troubles.append(trouble_with(adapter, error))
        return found

    def _of(self, adapter: Adapter, state: str) -> list[Listed]:
        if state == "lost":
            lost = adapter.lost() if adapter.supports_rescue else []
            certain = [each for each in lost if each.confirms_in <= 0]
            return [
                self._row(adapter, Task(each, RUNNING, each.seen_at), "lost") for each in certain
            ]
        if state == "overdue":
            late = {each.task_id for each in adapter.overlong()}
            return [
                replace(each, overdue=True)
                for each in self._of(adapter, "running")
                if each.task_id in late
            ]
        if not adapter.supports_tasks:
            return []
        most = LOOKED if state in ("ready", "scheduled", "quarantined") else self.most
        tasks = []
        for status in _STATUS.get(state, ()):
            tasks += adapter.tasks(status, most)
            self.more = self.more or len(tasks) >= LOOKED
        rows = [self._row(adapter, each, self._state(each)) for each in tasks]
        if state == "quarantined":
            return [each for each in rows if each.exception == QUARANTINED]
        return [each for each in rows if state in ("", each.state)]

    def _state(self, task: Task) -> str:
        later = task.since is not None and task.since > self.now
        return "scheduled" if task.status == READY and later else task.status.lower()

    def _row(self, adapter: Adapter, task: Task, state: str) -> Listed:
        handle, since = task.handle, task.since
        age = None if since is None else (self.now - since).total_seconds()
        return Listed(
            handle.task_id,
            handle.task_path,
            handle.queue_name,
            adapter.alias,
            handle.attempt if task.status != READY else 0,
            handle.worker,
            state,
            age if age is None or state == "scheduled" else max(0.0, age),
            since,
            handle.worker,
            task.error,
            in_table=False,
        )

    def _is_meant(self, each: Listed) -> bool:
        late = self.before is None or (each.since is not None and each.since <= self.before)
        return late and self.wanted.meant(each.queue, each.backend, each.task)


_STATUS = {
    "": (RUNNING, READY),
    "running": (RUNNING,),
    "ready": (READY,),
    "scheduled": (READY,),
    "failed": (FAILED,),
    "quarantined": (FAILED,),
    "successful": (SUCCESSFUL,),
}
