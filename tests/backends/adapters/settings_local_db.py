"""Django's settings for the tests of django-tasks-local-db.

Its app starts to run tasks in every process in which Django is set up. So in the process of
the tests it keeps still; ``ARGUS_MAINT_TEST_RUNS_TASKS`` is set for one that is to run them.
"""

from __future__ import annotations

import os

from tests.settings import *  # noqa: F403

_RUNS = os.environ.get("ARGUS_MAINT_TEST_RUNS_TASKS")
_APP = "django_tasks_local_db" if _RUNS else "tests.backends.adapters.local_site.Quiet"
INSTALLED_APPS = [*INSTALLED_APPS, _APP]  # type: ignore[name-defined] # noqa: F405
TASKS = {
    "default": {"BACKEND": "django_tasks_db.DatabaseBackend", "QUEUES": []},
    "local": {
        "BACKEND": "django_tasks_local_db.backend.LocalDBBackend",
        "QUEUES": [],
        "OPTIONS": {"POLL_INTERVAL": 0.1, "HEARTBEAT_TIMEOUT": 1, "MAX_WORKERS": 4},
    },
}
