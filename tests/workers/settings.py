"""The tests' settings, for processes that a test wants to look into or to hinder.

Environment variables, each without effect where it is not set:

- ``LIFE_SQL``: a file that gets a line for every connection and statement.
- ``LIFE_SIGNALS``: a file that gets a line for every signal of the framework and every save
  of a task's row; ``LIFE_HANG=1`` makes a receiver of ``task_finished`` hang.
- ``LIFE_REFUSE=1`` makes a receiver of ``task_started`` raise.
- ``LIFE_PATCH``: JSON, dotted path of a module's attribute -> its value; for a path that
  ends in ``()``, what the function returns.
- ``LIFE_FORKS_FAIL``: JSON, how many forks of the supervisor work and how many then do not.
- ``LIFE_IMPORT``: a module to import, as a site would.
"""

from __future__ import annotations

import json
import os
from importlib import import_module
from typing import Any

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES, INSTALLED_APPS, TASKS

DEBUG = os.environ.get("LIFE_DEBUG") == "1"
INSTALLED_APPS = [*INSTALLED_APPS, "tests.workers"]
_FRAMEWORK = "django_tasks" if "django_tasks" in INSTALLED_APPS else "django.tasks"
TASKS = {
    **TASKS,
    "other": {"BACKEND": "django_tasks_db.DatabaseBackend", "QUEUES": []},
    "dummy": {"BACKEND": f"{_FRAMEWORK}.backends.dummy.DummyBackend"},
}
if (age := os.environ.get("LIFE_CONN_MAX_AGE")) is not None:
    DATABASES["default"]["CONN_MAX_AGE"] = json.loads(age)

for path, value in json.loads(os.environ.get("LIFE_PATCH", "{}")).items():
    module, _, name = path.removesuffix("()").rpartition(".")
    new: Any = (lambda fixed: lambda *args: fixed)(value) if path.endswith("()") else value
    setattr(import_module(module), name, new)

if forks := os.environ.get("LIFE_FORKS_FAIL"):
    from argus_maint.workers import children

    _fork, _left = os.fork, json.loads(forks)

    def _failing_fork() -> int:
        works, fails = _left
        if works:
            _left[0] -= 1
        elif fails:
            _left[1] -= 1
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return _fork()

    children.os = type("os", (), {"__getattr__": lambda self, name: getattr(os, name)})()
    children.os.fork = _failing_fork

if module := os.environ.get("LIFE_IMPORT"):
    import_module(module)
