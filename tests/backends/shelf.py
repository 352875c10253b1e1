"""A task backend of a site's own, and the adapter that the site brings for it.

Its tasks are files in a folder, one a task, so that a test sees what became of them. It has
none of what makes a backend useful; it is here for what maintenance does with any backend.
"""

from __future__ import annotations

import json
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.utils import timezone

from argus_maint.backends.adapters.base import (
    Adapter,
    Lost,
    Pruned,
    PruneOrder,
    Queue,
    Task,
    Unreachable,
    Worker,
    recorded,
)
from argus_maint.backends.database import QueueCounts
from argus_maint.models import LedgerEntry

try:
    from django.tasks.backends.dummy import DummyBackend
except ImportError:
    from django_tasks.backends.dummy import DummyBackend  # type: ignore[assignment]


class ShelfBackend(DummyBackend):
    """Named in TASKS, with ``OPTIONS["folder"]``."""


class Shelf(Adapter):
    """All of it, but for a fence."""

    name = "shelf"
    worker_command = "manage.py work_shelf"
    supports_stats = supports_liveness = supports_rescue = supports_tasks = True
    supports_requeue = supports_fail = supports_prune = True
    why_not = {"fence": "a file is written by whoever comes last"}

    @property
    def folder(self) -> Path:
        folder = Path(self.backend.options["folder"])
        if not folder.exists():
            raise Unreachable(f"the shelf {folder.name} is not there")
        return folder

    def books(self) -> list[dict[str, Any]]:
        return [json.loads(each.read_text()) for each in sorted(self.folder.iterdir())]

    def queues(self) -> list[Queue]:
        found = []
        for name in sorted({each["queue"] for each in self.books()}):
            status = [each["status"] for each in self.books() if each["queue"] == name]
            ready = status.count("READY")
            oldest = timezone.now() - timedelta(minutes=30) if ready else None
            counts = QueueCounts(self.alias, name, ready, 0, status.count("RUNNING"), oldest)
            found.append(Queue(counts, status.count("FAILED"), status.count("SUCCESSFUL")))
        return found

    def workers(self) -> list[Worker]:
        held = [each for each in self.books() if each["status"] == "RUNNING"]
        return [
            Worker(
                each["worker"], "far", 7, (each["queue"],), alive=False, evidence="no dust on it"
            )
            for each in held
        ]

    def lost(self) -> list[Lost]:
        running = [each for each in self.books() if each["status"] == "RUNNING"]
        return [self._handle(each) for each in running if not each.get("held")]

    def tasks(self, status: str, most: int) -> list[Task]:
        found = [each for each in self.books() if each["status"] == status]
        return [self._task(each) for each in found[:most]]

    def task(self, task_id: str) -> Task | None:
        path = self.folder / task_id
        return self._task(json.loads(path.read_text())) if path.exists() else None

    def _task(self, book: dict[str, Any]) -> Task:
        since = timezone.now() - timedelta(seconds=book["age"])
        return Task(
            self._handle(book),
            book["status"],
            since,
            book.get("error", ""),
            book.get("traceback", ""),
        )

    def _handle(self, book: dict[str, Any]) -> Lost:
        return Lost(
            book["id"],
            book["path"],
            book["queue"],
            book["attempt"],
            book["worker"],
            LedgerEntry.Verdict.EXPIRED.value,
            "no dust on it",
            "far",
            seen_at=timezone.now() - timedelta(seconds=book["silent"])
            if "silent" in book
            else None,
            confirms_in=max(0.0, book.get("certain_at", 0) - time.time()),
            token=book,
        )

    def requeue(self, lost: Lost, entry: LedgerEntry, delay: float = 0) -> bool:
        return recorded(entry, self.using, lambda: self._swap(lost, "READY", delay=delay))

    def fail(self, lost: Lost, entry: LedgerEntry, error: type[Exception]) -> bool:
        path = f"{error.__module__}.{error.__qualname__}"
        return recorded(entry, self.using, lambda: self._swap(lost, "FAILED", error=path))

    def _swap(self, lost: Lost, status: str, **values: Any) -> bool:
        path = self.folder / lost.task_id
        if json.loads(path.read_text()) != lost.token:
            return False
        put(self.folder, **{**lost.token, "status": status, **values})
        return True

    def prune(self, order: PruneOrder) -> Pruned:
        pruned = Pruned()
        for each in self.books():
            kind = {"SUCCESSFUL": "successful", "FAILED": "failed"}.get(each["status"], "")
            if kind and order.goes(each["age"], kind, each["queue"], each["path"]):
                pruned.deleted[kind] += 1
                if not order.dry_run:
                    (self.folder / each["id"]).unlink()
        return pruned


def put(folder: Path, id: str, status: str = "RUNNING", **values: Any) -> str:
    """A task on the shelf; its id."""
    book = {"path": "tests.tasks.sleep", "queue": "default", "attempt": 1, "worker": "w", "age": 0}
    temporary = folder.parent / f"{id}.new"
    temporary.write_text(json.dumps({**book, "id": id, "status": status, **values}))
    temporary.replace(folder / id)
    return id


def read(folder: Path, id: str) -> dict[str, Any]:
    """What the shelf has of a task."""
    book: dict[str, Any] = json.loads((folder / id).read_text())
    return book


def site(*folders: Path) -> dict[str, Any]:
    """Settings of a site with the task table and a shelf for each folder."""
    shelves = {
        folder.name: {
            "BACKEND": "tests.backends.shelf.ShelfBackend",
            "OPTIONS": {"folder": str(folder)},
        }
        for folder in folders
    }
    return {
        "TASKS": {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}, **shelves},
        "ARGUS_MAINT": {
            "RESCUE": {"*": {"backoff": [2, 60]}},
            "BACKENDS": {"tests.backends.shelf.ShelfBackend": "tests.backends.shelf.Shelf"},
        },
    }
