"""Django's settings for the tests, and for the real processes that they start.

``ARGUS_MAINT_TEST_DB`` picks the database: ``sqlite`` (the default), ``postgres``
or ``mariadb``. ``ARGUS_MAINT_TEST_POSTGRES_HOST``, ``_PORT``, ``_USER`` and
``_PASSWORD`` say where the server is; the same for ``MARIADB``.
``ARGUS_MAINT_TEST_SETTING`` is the ARGUS_MAINT setting as JSON.
``ARGUS_MAINT_TEST_DB_NAME`` is set for a child process, which works in the test
database of the pytest run that started it.
"""

from __future__ import annotations

import json
import os
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import django

# Of its own for each run, so that two runs on one machine do not meet.
_TEST_NAME = f"test_argus_maint_{os.getpid()}"


def _server(prefix: str, port: int, user: str) -> dict[str, Any]:
    env = os.environ
    prefix = f"ARGUS_MAINT_TEST_{prefix}"
    return {
        "HOST": env.get(f"{prefix}_HOST") or "127.0.0.1",
        "PORT": int(env.get(f"{prefix}_PORT") or port),
        "USER": env.get(f"{prefix}_USER") or user,
        "PASSWORD": env.get(f"{prefix}_PASSWORD", ""),
        "NAME": env.get("ARGUS_MAINT_TEST_DB_NAME", "argus_maint"),
        "TEST": {"NAME": _TEST_NAME},
    }


def _database(kind: str) -> dict[str, Any]:
    if kind == "postgres":
        return {"ENGINE": "django.db.backends.postgresql", **_server("POSTGRES", 5432, "postgres")}
    if kind == "mariadb":
        return {
            "ENGINE": "django.db.backends.mysql",
            "OPTIONS": {"charset": "utf8mb4"},
            **_server("MARIADB", 3306, "root"),
        }
    if kind == "sqlite":
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ.get("ARGUS_MAINT_TEST_DB_NAME", ":memory:"),
            "OPTIONS": {"init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"},
            # A file: the processes that a test starts could not see memory.
            "TEST": {"NAME": str(Path(tempfile.gettempdir(), f"{_TEST_NAME}.sqlite3"))},
        }
    raise ValueError(f"ARGUS_MAINT_TEST_DB is {kind!r}: it must be sqlite, postgres or mariadb")


SECRET_KEY = "for tests only"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": _database(os.environ.get("ARGUS_MAINT_TEST_DB") or "sqlite")}

# django-tasks-db 0.12 is built on the backport even where Django has the framework.
_BACKPORT = django.VERSION < (6, 0) or version("django-tasks-db").startswith("0.12.")

INSTALLED_APPS = [
    "argus_maint",  # before django_tasks_db, so that its commands win
    *(["django_tasks"] if _BACKPORT else []),
    "django_tasks_db",
]

TASKS = {
    "default": {
        "BACKEND": "django_tasks_db.DatabaseBackend",
        "QUEUES": [],  # any queue
    },
}

# Without a delay after a loss, so that tests need not wait for one.
ARGUS_MAINT = json.loads(
    os.environ.get("ARGUS_MAINT_TEST_SETTING", '{"RESCUE": {"*": {"backoff": [0, 0]}}}')
)
