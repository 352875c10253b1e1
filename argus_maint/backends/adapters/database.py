"""django-tasks-db: rows of the task table.

Its rows are rescued, pruned, listed and acted on by jobs of their own, which know the table well
(``in_task_table``); here is what all backends are asked alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from argus_maint.backends.adapters.base import Adapter, Queue, Worker
from argus_maint.backends.database import queue_counts
from argus_maint.models import Process


class Database(Adapter):
    """``django_tasks_db.DatabaseBackend``, and what is built on it."""

    name = "database"
    package = "django-tasks-db"
    worker_command = "manage.py db_worker"
    supports_stats = True
    supports_liveness = True
    supports_rescue = True
    supports_tasks = True
    supports_requeue = True
    supports_fail = True
    supports_fence = True
    supports_prune = True
    in_task_table = True

    def worker_arguments(self, queues: Sequence[str] = ()) -> list[str]:
        """Without a name it takes from every queue of its alias."""
        if not self.worker_command:  # of an adapter that is built on this one
            return []
        options = ["--queue-name", ",".join(queues) or "*"]
        options += [] if self.alias == "default" else ["--backend", self.alias]
        return [*super().worker_arguments(), *options]

    def queues(self) -> list[Queue]:
        """READY and RUNNING; what has finished is not counted, for that reads the table."""
        counts = queue_counts(self.using)
        return [Queue(each) for each in counts if each.backend_name == self.alias]

    def workers(self) -> list[Worker]:
        """Registered workers that have not ended, as they were last seen."""
        rows = Process.objects.using(self.using).filter(kind=Process.Kind.WORKER)
        living = rows.exclude(state=Process.State.ENDED).order_by("name", "worker_id")
        return [_worker(each) for each in living if each.info.get("backend") == self.alias]


def _worker(process: Process) -> Worker:
    info: dict[str, Any] = process.info
    queues = tuple(each for each in info.get("queues", ()) if each != "*")
    return Worker(
        process.name,
        process.hostname,
        process.pid,
        queues,
        process.last_beat_at,
        alive=None,  # a verdict needs a watcher: see maint status
        evidence=f"{process.state}, beat {process.beats}",
    )
