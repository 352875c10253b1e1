"""What the database says while the demo runs: which task is where, and what was rescued.

``Observer.look`` reads it and tells the screen what is new. Times are those of the look
that found something, so they are never too short.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import UUID

from django.db import OperationalError
from django_tasks_db.models import DBTaskResult

from argus_maint.demo import tasks
from argus_maint.demo.screen import Screen
from argus_maint.demo.stage import Off
from argus_maint.models import LedgerEntry, Process
from argus_maint.observe.census import label

T = TypeVar("T")
EVERY = 0.02  # seconds between looks


@dataclass(slots=True)
class Kill:
    """A worker that was killed, and what was seen of the task it had in hand."""

    task: str  # its name
    worker_id: str
    at: float
    ready_at: float | None = None
    again_at: float | None = None


@dataclass(slots=True)
class Observer:
    """Knows the tasks by name, and remembers what it has told."""

    screen: Screen
    check: Callable[[], None]  # raises when the demo is to stop
    names: dict[UUID, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)  # how long each takes, by name
    kills: list[Kill] = field(default_factory=list)
    begun: dict[str, float] = field(default_factory=dict)  # first seen to have begun
    attempts: dict[UUID, int] = field(default_factory=dict)
    entries: int = 0
    done: int = 0

    def until(self, what: str, condition: Callable[[], T], seconds: float) -> T:
        """Look and tell until the condition holds; its value, or Off when it takes too long."""
        deadline = time.monotonic() + seconds
        while True:
            self.check()
            try:
                self.look()
                if value := condition():
                    return value
            except OperationalError as error:  # a writer was in the way of this look
                what = f"{what} ({error})"
            if time.monotonic() > deadline:
                raise Off(f"not within {seconds:g} s: {what}")
            time.sleep(EVERY)

    def look(self) -> None:
        """See what is new, and tell it."""
        for name in tasks.lines("begin"):
            self.begun.setdefault(name, self.screen.elapsed())
        entries = list(LedgerEntry.objects.order_by("pk"))
        for entry in entries[self.entries :]:
            self._tell_entry(entry)
        self.entries = len(entries)
        done = 0
        for row in DBTaskResult.objects.filter(pk__in=list(self.names)):
            if len(row.worker_ids) > self.attempts.get(row.pk, 0):
                self.attempts[row.pk] = len(row.worker_ids)
                self._tell_attempt(row)
            done += row.status in ("SUCCESSFUL", "FAILED")
        if done // 6 > self.done // 6:
            self.screen.event("done", f"{done} of {len(self.names)} tasks")
        self.done = done

    def _tell_entry(self, entry: LedgerEntry) -> None:
        name = self.names.get(entry.task_id, str(entry.task_id))
        noticed_by = entry.noticed_by.partition("@")[0]
        kill = next((k for k in self.kills if k.worker_id == entry.worker_id), None)
        worker = label(entry.worker_id)
        if kill is None or entry.action != LedgerEntry.Action.REQUEUED:
            raise Off(f"{name} of {worker} was {entry.action} ({entry.verdict}): {entry.evidence}")
        kill.ready_at = self.screen.elapsed()
        how = f"was killed by {entry.exit_signal}" if entry.exit_signal else "is dead: no such pid"
        self.screen.event("noticed", f"by {noticed_by}: worker {worker} {how}", kill.ready_at)
        self.screen.event(
            "rescued",
            f"{name} is READY again {kill.ready_at - kill.at:.2f} s after the kill, "
            f"to run in {entry.delay:g} s",
            kill.ready_at,
        )

    def _tell_attempt(self, row: DBTaskResult) -> None:
        if len(row.worker_ids) < 2:
            return
        name, worker = self.names[row.pk], label(row.worker_ids[-1])
        for kill in self.kills:
            if kill.task == name and kill.worker_id == row.worker_ids[-2]:
                kill.again_at = self.screen.elapsed()
        self.screen.event("again", f"{name} runs on {worker}, attempt {len(row.worker_ids)}")

    def in_hand(self, supervisor: str, longer_than: float) -> dict[str, Process]:
        """Workers of a supervisor whose task has longer than this to go, by task."""
        found = {}
        for row in DBTaskResult.objects.filter(status="RUNNING"):
            name = self.names.get(row.pk, "")
            if name not in self.begun or len(row.worker_ids) > 1:
                continue
            if self.begun[name] + self.seconds[name] - self.screen.elapsed() < longer_than:
                continue
            worker = Process.objects.filter(worker_id=row.worker_ids[-1], name=supervisor).first()
            if worker is not None:
                found[name] = worker
        return found
