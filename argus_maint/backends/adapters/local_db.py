"""django-tasks-local-db: rows of the task table, run by threads of web processes.

It is built on the database backend, and passes for one. But its processes take tasks without
a worker, and take over those whose heartbeat is old, by themselves and without limit. So
nobody else may give a task back. What is left to do: a task that was started too often is
failed, which every rescue pass does (``jobs.rescue``).
"""

from __future__ import annotations

from argus_maint.backends.adapters.base import Worker
from argus_maint.backends.adapters.database import Database

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

    def warnings(self) -> list[str]:
        """That it cannot keep what the site's policy may ask for."""
        return [
            f"{type(self.backend).__name__} runs a task again whose process died, whatever "
            'RESCUE says: "on_lost": "fail" cannot be kept, only "max_losses"'
        ]
