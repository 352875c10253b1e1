"""django-tasks-local-db: rows of the task table, run by threads of web processes.

It is built on the database backend, and passes for one. But its processes take tasks without
a worker, and take over those whose heartbeat is old, by themselves and without limit. So
nobody else may give a task back. What is left to do: a task that was started too often is
failed, which every rescue pass does (``jobs.rescue``).
"""

from __future__ import annotations

from argus_maint.backends.adapters.base import Lost, Worker
from argus_maint.backends.adapters.database import Database
from argus_maint.backends.database import running
from argus_maint.backends.local_db import poison
from argus_maint.models import DeclaredPolicy
from argus_maint.policy import policy_for

_ITSELF = "it runs a lost task again by itself: a second one who does makes it run twice"


class LocalDatabase(Database):
    """``django_tasks_local_db.LocalDBBackend``."""

    name = "local-database"
    package = "django-tasks-local-db"
    worker_command = ""
    supports_liveness = False
    supports_rescue = False
    supports_requeue = False
    supports_fence = False
    why_not = {
        "liveness": "its processes do not register; they leave a heartbeat for each task",
        "rescue": f"{_ITSELF}; one that it has started too often is failed",
        "requeue": _ITSELF,
        "fence": "it writes the result without looking who owns the task",
    }

    def workers(self) -> list[Worker]:
        """None that are known."""
        return []

    def lost(self) -> list[Lost]:
        """Tasks that were started more than ``max_losses`` times without an end."""
        attempts = [each for each in running(self.using) if each.backend_name == self.alias]
        many = [each for each in attempts if each.number > 1]
        declared = DeclaredPolicy.objects.using(self.using).in_bulk(
            sorted({each.task_path[:255] for each in many})
        )
        found = []
        for each in many:
            row = declared.get(each.task_path[:255])
            most = policy_for(each.task_path, row.options if row else None).max_losses
            entry = poison(each, most, self.using)
            if entry is not None:
                about = (each.task_path, each.queue_name, each.number, each.owner)
                told = (str(entry.verdict), entry.evidence)
                found.append(Lost(str(each.task_id), *about, *told, token=each))
        return found

    def warnings(self) -> list[str]:
        """That it cannot keep what the site's policy may ask for."""
        return [
            f"{type(self.backend).__name__} runs a task again whose process died, whatever "
            'RESCUE says: "on_lost": "fail" cannot be kept, only "max_losses"'
        ]
