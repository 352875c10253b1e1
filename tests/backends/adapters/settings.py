"""Django's settings for the tests of the adapters: several aliases of TASKS at once.

Run with ``DJANGO_SETTINGS_MODULE=tests.backends.adapters.settings``, in an environment that
has ``requirements-backends.lock``. The Redis server is one that the tests start themselves.
"""

from __future__ import annotations

import os
import socket

from tests.settings import *  # noqa: F403

INSTALLED_APPS = [*INSTALLED_APPS, "django_rq", "django_tasks_redis"]  # type: ignore[name-defined] # noqa: F405

# Of each pytest process its own; the processes that it starts inherit it.
_KEY = f"ARGUS_MAINT_TEST_BROKER_PORT{os.environ.get('PYTEST_XDIST_WORKER', '').upper()}"
if _KEY not in os.environ:
    with socket.socket() as _free:
        _free.bind(("127.0.0.1", 0))
        os.environ[_KEY] = str(_free.getsockname()[1])
BROKER_PORT = int(os.environ[_KEY])
_BROKER = {"HOST": "127.0.0.1", "PORT": BROKER_PORT}
RQ_QUEUES = {
    "default": {**_BROKER, "DB": 0, "DEFAULT_TIMEOUT": 360},
    "bulk": {**_BROKER, "DB": 0, "DEFAULT_TIMEOUT": 360},
}
TASKS = {
    "default": {"BACKEND": "django_tasks_db.DatabaseBackend", "QUEUES": []},
    "rq": {"BACKEND": "django_tasks_rq.RQBackend"},
    "redis": {
        "BACKEND": "django_tasks_redis.RedisTaskBackend",
        "QUEUES": ["default", "bulk"],
        "OPTIONS": {
            "REDIS_URL": f"redis://127.0.0.1:{BROKER_PORT}/1",
            # A worker of a test may be told to reclaim after seconds, not minutes.
            "REDIS_CLAIM_TIMEOUT": float(os.environ.get("ARGUS_MAINT_TEST_CLAIM_TIMEOUT", "300")),
        },
    },
    "threads": {
        "BACKEND": "django_tasks_local.ThreadPoolBackend",
        "QUEUES": [],
        "OPTIONS": {"MAX_WORKERS": 2},
    },
    "processes": {
        "BACKEND": "django_tasks_local.ProcessPoolBackend",
        "QUEUES": [],
        "OPTIONS": {"MAX_WORKERS": 2},
    },
    "immediate": {"BACKEND": "django.tasks.backends.immediate.ImmediateBackend"},
    "old_immediate": {"BACKEND": "django_tasks.backends.immediate.ImmediateBackend"},
    "dummy": {"BACKEND": "django.tasks.backends.dummy.DummyBackend"},
    "old_dummy": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"},
}
if "ARGUS_MAINT_TEST_DB_NAME" not in os.environ:  # no command starts with such an alias
    TASKS["gone"] = {"BACKEND": "django_tasks_nowhere.Backend"}
