"""The tests' settings with two aliases, and their table in a database of its own (SQLite)."""

from __future__ import annotations

import os
from typing import Any

from tests.settings import *  # noqa: F403

_FOLDER = os.environ["ROUTED_FOLDER"]
DATABASES = {
    name: {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{_FOLDER}/{name}.sqlite3"}
    for name in ("default", "tasks")
}
TASKS = {name: {"BACKEND": "django_tasks_db.DatabaseBackend"} for name in ("default", "second")}
DATABASE_ROUTERS = ["tests.routed.Router"]


class Router:
    """Sends the task table and ours to the database \"tasks\"."""

    labels = {"django_tasks_database", "argus_maint"}

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return "tasks" if model._meta.app_label in self.labels else "default"

    db_for_write = db_for_read

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return (db == "tasks") == (app_label in self.labels)
